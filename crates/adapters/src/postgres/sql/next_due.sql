-- How long until something is due: NULL when nothing is scheduled.
SELECT (extract(epoch FROM run_at - clock_timestamp()) * 1000)::int8 AS due_in_ms
FROM action_queue WHERE run_at IS NOT NULL ORDER BY run_at LIMIT 1
