-- name: register_member
-- This process becomes a member; its lease begins.
INSERT INTO members (member_id, host, backend_pid, backend_start, lease_until)
SELECT $1, $2, pid, backend_start, clock_timestamp() + $3::interval
FROM pg_stat_activity
WHERE pid = pg_backend_pid();

-- name: create_partitions
-- There is one row for each partition; those that are there stay as they are, and whoever holds them is not waited for.
INSERT INTO partitions (partition)
SELECT * FROM generate_series(0, $1::integer - 1) EXCEPT SELECT partition FROM partitions
ON CONFLICT DO NOTHING;

-- name: renew_lease
-- Our lease runs on from now, and the alerts that last here are told along; no row: we were buried.
UPDATE members SET lease_until = clock_timestamp() + $2::interval, alerts = $3::jsonb
WHERE member_id = $1
RETURNING member_id;

-- name: look_at_members
-- All members, eldest first, and which of them are dead: past their lease, or without their session.
SELECT members.member_id,
       members.lease_until < clock_timestamp() OR activity.pid IS NULL AS dead
FROM members
LEFT JOIN pg_stat_activity AS activity
    ON activity.pid = members.backend_pid
    AND coalesce(activity.backend_start, members.backend_start) = members.backend_start
ORDER BY members.joined_at, members.member_id;

-- name: look_at_partitions
-- Who owns what.
SELECT partition, owner FROM partitions ORDER BY partition;

-- name: bury_member
-- A member that is still dead is none any more; returns when its lease ended or ends.
DELETE FROM members
WHERE member_id = $1
    AND (lease_until < clock_timestamp() OR NOT EXISTS (
        SELECT FROM pg_stat_activity AS activity
        WHERE activity.pid = members.backend_pid
            AND coalesce(activity.backend_start, members.backend_start) = members.backend_start))
RETURNING lease_until;

-- name: wait_briefly_for_locks
-- In this transaction a lock is waited for no longer than a session takes that was just told to end.
SET LOCAL lock_timeout = '250ms';

-- name: end_sessions
-- The sessions of one member end, whatever they were doing.
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE application_name = $1 AND pid <> pg_backend_pid();

-- name: free_lost_partitions
-- The partitions of a member that is gone are free; waits for a transaction of it that still runs.
UPDATE partitions SET owner = NULL, former_lease_until = greatest(former_lease_until, $2)
WHERE owner = $1;

-- name: lock_member
-- That we are a member stays true until the end of this transaction; no row: we were buried.
SELECT lease_until FROM members WHERE member_id = $1 FOR KEY SHARE;

-- name: claim_partitions
-- Up to $2 free partitions are ours, each with a new epoch. No lease of a former owner lasts longer than one ($3), also where a
-- server's clock was set back, or that of the standby that was promoted is slower.
UPDATE partitions SET owner = $1, epoch = epoch + 1
WHERE partition IN (
    SELECT partition FROM partitions WHERE owner IS NULL ORDER BY partition LIMIT $2 FOR UPDATE SKIP LOCKED)
RETURNING partition, epoch, least(former_lease_until - clock_timestamp(), $3::interval) AS former_lease_rest;

-- name: release_partitions
-- What was ours is free, orderly.
UPDATE partitions SET owner = NULL
WHERE owner = $1 AND partition = ANY($2::integer[]);

-- name: leave
-- We are no member any more.
DELETE FROM members WHERE member_id = $1 RETURNING lease_until;

-- name: count_partitions
-- How many partitions this database was set up for.
SELECT count(*) FROM partitions;

-- name: fence
-- How many of these pairs of partition and epoch are still ours; none of them changes hands before the end of this transaction.
SELECT count(*) FROM (
    SELECT FROM partitions
    JOIN unnest($2::integer[], $3::bigint[]) AS mine (partition, epoch) USING (partition, epoch)
    WHERE partitions.owner = $1
    FOR SHARE OF partitions) AS held;
