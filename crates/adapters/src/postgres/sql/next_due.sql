-- How long until something is due: NULL when nothing is scheduled. What a limit holds is not.
SELECT (extract(epoch FROM run_at - clock_timestamp()) * 1000)::int8 AS due_in_ms
FROM action_queue WHERE run_at IS NOT NULL AND run_at < '9999-12-31 00:00:00+00'::timestamptz ORDER BY run_at LIMIT 1
