-- Whoever asks what the connector answered sees its own words, not only what we made of them.

ALTER TABLE delivery.attempts ADD COLUMN reply text;
COMMENT ON COLUMN delivery.attempts.reply IS 'The beginning of the body of the answer, as text; NULL: there was none.';
