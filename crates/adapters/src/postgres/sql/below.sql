-- Which lanes have something below the floor from which claims read them: $1 types, $2 priorities, $3 the rank that was
-- reached, $4 for how long the lane is empty, in microseconds. Reads every entry that claims pass by, of actions that
-- went long ago, too. A lane is left at its first row.
SELECT u.type AS type, u.priority, first.action_id
FROM unnest($1::text[], $2::int2[], $3::int8[], $4::int8[]) AS u(type, priority, reached, idle_us)
JOIN action_types t ON t.name = u.type
CROSS JOIN (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8 AS us) clock
CROSS JOIN LATERAL (
  SELECT q.action_id FROM action_queue q
  WHERE t.max_running IS NULL AND t.max_running_per_user IS NULL
    AND q.type_id = t.id AND q.priority = u.priority AND q.run_at IS NULL
    AND q.rank < least(clock.us - u.idle_us, u.reached) - 5000000
    AND (q.give_up_at IS NULL OR q.give_up_at > statement_timestamp())
  ORDER BY q.rank LIMIT 1) first
