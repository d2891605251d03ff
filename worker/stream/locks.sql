-- name: lock_holders
-- Sessions other than the workers' that hold more than a reader's lock on our tables. The state and the beginning of
-- another user's transaction are visible only to a superuser or a member of pg_monitor.
SELECT lock.pid, activity.application_name, activity.usename, activity.state, activity.xact_start,
    array_agg(DISTINCT class.relname::text ORDER BY class.relname::text) AS tables
FROM pg_locks AS lock
JOIN pg_class AS class ON class.oid = lock.relation AND class.relkind IN ('r', 'p')
JOIN pg_stat_activity AS activity ON activity.pid = lock.pid
WHERE lock.granted AND lock.mode <> 'AccessShareLock'
    AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND class.relnamespace = current_schema()::regnamespace
    AND activity.application_name !~ '^settlement-(ledger|delivery) '
GROUP BY lock.pid, activity.application_name, activity.usename, activity.state, activity.xact_start
ORDER BY lock.pid
LIMIT 3;
