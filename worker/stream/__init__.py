"""What both workers share: ownership of partitions, one cycle, outbox, positions, dead letters."""
