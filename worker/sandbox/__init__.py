"""For trying things out: a simulated payment connector, a simulated ERP, and a demo of the whole system."""
