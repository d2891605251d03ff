"""What the system must decide: pure functions over plain values. No clock, no I/O, no randomness, integers only."""
