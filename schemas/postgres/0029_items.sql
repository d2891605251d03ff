-- The items of invoices and changes are kept as they came (R10, R17). They are not part of the fact, which travels with every
-- message that it causes: no amount follows from them. Programs of before, which may still run, do not keep them.
ALTER TABLE ledger.facts ADD COLUMN items text;
COMMENT ON COLUMN ledger.facts.items IS
    'The lists of items as they came, in one JSON object; NULL: there were none. Kept, and never read to decide anything.';
