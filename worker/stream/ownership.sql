-- name: register_member
-- Inserts this process as a member; its lease begins.
INSERT INTO members (member_id, host, backend_pid, backend_start, lease_until)
SELECT $1, $2, pid, backend_start, clock_timestamp() + $3::interval
FROM pg_stat_activity
WHERE pid = pg_backend_pid();

-- name: create_partitions
-- Inserts the partitions that have no row yet, without waiting for locks on the others.
INSERT INTO partitions (partition)
SELECT * FROM generate_series(0, $1::integer - 1) EXCEPT SELECT partition FROM partitions
ON CONFLICT DO NOTHING;

-- name: renew_lease
-- Renews our lease and stores our present alerts; no row: we were buried.
UPDATE members SET lease_until = clock_timestamp() + $2::interval, alerts = $3::jsonb
WHERE member_id = $1
RETURNING member_id;

-- name: look_at_members
-- All members, oldest first, and which of them are dead: past their lease, or without their session.
SELECT members.member_id,
       members.lease_until < clock_timestamp() OR activity.pid IS NULL AS dead
FROM members
LEFT JOIN pg_stat_activity AS activity
    ON activity.pid = members.backend_pid
    AND coalesce(activity.backend_start, members.backend_start) = members.backend_start
ORDER BY members.joined_at, members.member_id;

-- name: look_at_partitions
-- The owner of each partition.
SELECT partition, owner FROM partitions ORDER BY partition;

-- name: bury_member
-- Deletes a member that is still dead; returns when its lease ended or ends.
DELETE FROM members
WHERE member_id = $1
    AND (lease_until < clock_timestamp() OR NOT EXISTS (
        SELECT FROM pg_stat_activity AS activity
        WHERE activity.pid = members.backend_pid
            AND coalesce(activity.backend_start, members.backend_start) = members.backend_start))
RETURNING lease_until;

-- name: wait_briefly_for_locks
-- Limits waits for locks in this transaction, to about what a terminated session needs to end.
SELECT set_config('lock_timeout', '250ms', true);

-- name: end_sessions
-- Terminates all sessions of one member.
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE application_name = $1 AND pid <> pg_backend_pid();

-- name: free_lost_partitions
-- Frees the partitions of a member that is gone; waits for a transaction of it that still runs.
UPDATE partitions SET owner = NULL, former_lease_until = greatest(former_lease_until, $2)
WHERE owner = $1;

-- name: lock_member
-- Keeps us a member until the end of this transaction; no row: we were buried.
SELECT lease_until FROM members WHERE member_id = $1 FOR KEY SHARE;

-- name: claim_partitions
-- Claims up to $2 free partitions, each with a new epoch. A former owner's lease counts as no longer than a whole one
-- ($3): a server's clock may have been set back, or that of a promoted standby be behind.
UPDATE partitions SET owner = $1, epoch = epoch + 1
WHERE partition IN (
    SELECT partition FROM partitions WHERE owner IS NULL ORDER BY partition LIMIT $2 FOR UPDATE SKIP LOCKED)
RETURNING partition, epoch, least(former_lease_until - clock_timestamp(), $3::interval) AS former_lease_rest;

-- name: release_partitions
-- Frees partitions of ours after a hand-over.
UPDATE partitions SET owner = NULL
WHERE owner = $1 AND partition = ANY($2::integer[]);

-- name: leave
-- Deletes our membership.
DELETE FROM members WHERE member_id = $1 RETURNING lease_until;

-- name: count_partitions
-- The number of partitions that this database was set up for.
SELECT count(*) FROM partitions;

-- name: fence
-- Counts the pairs of partition and epoch that are still ours, and keeps them ours until the end of this transaction.
SELECT count(*) FROM (
    SELECT FROM partitions
    JOIN unnest($2::integer[], $3::bigint[]) AS mine (partition, epoch) USING (partition, epoch)
    WHERE partitions.owner = $1
    FOR SHARE OF partitions) AS held;
