-- Which types have something in one of their lanes: $1 types, $2 priorities, and from where each lane is read, as by a
-- claim: $3 the rank that was reached, $4 for how long it is empty, in microseconds. A lane is left at its first row.
SELECT DISTINCT u.type AS type
FROM unnest($1::text[], $2::int2[], $3::int8[], $4::int8[]) AS u(type, priority, reached, idle_us)
JOIN action_types t ON t.name = u.type
CROSS JOIN (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8 AS us) clock
CROSS JOIN LATERAL (
  SELECT 1 FROM action_queue q
  WHERE q.type_id = t.id AND q.priority = u.priority AND q.run_at IS NULL
    AND q.rank >= CASE WHEN t.max_running IS NULL AND t.max_running_per_user IS NULL
                       THEN least(clock.us - u.idle_us, u.reached) - 5000000 ELSE 0 END
  LIMIT 1) first
