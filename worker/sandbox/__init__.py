"""A rehearsal room: a payment connector, an ERP, and the demo that plays everything together."""
