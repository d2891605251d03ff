"""A place to rehearse: a payment connector, an ERP, and the demo that plays everything together."""
