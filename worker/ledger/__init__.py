"""The ledger worker: records become facts, facts become decisions, decisions are booked and told."""
