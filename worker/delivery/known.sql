-- name: unknown_outcomes
-- Which of these outcomes and decisions are not in our tables.
SELECT place FROM unnest($1::boolean[], $2::text[], $3::bigint[]) WITH ORDINALITY AS told (decided, command_id, number, place)
WHERE CASE WHEN decided
    THEN NOT EXISTS (SELECT FROM decisions WHERE id = told.number AND applied_at IS NOT NULL)
    ELSE NOT EXISTS (SELECT FROM commands WHERE command_id = told.command_id AND changes >= told.number) END
