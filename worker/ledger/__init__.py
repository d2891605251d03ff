"""The ledger worker: records become facts, facts become decisions, decisions are written and published."""
