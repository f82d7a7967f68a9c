-- Which types have something in one of their lanes: $1 types, $2 priorities, $3 floors. A lane is left at its first row.
SELECT DISTINCT u.type AS type
FROM unnest($1::text[], $2::int2[], $3::int8[]) AS u(type, priority, floor)
JOIN action_types t ON t.name = u.type
CROSS JOIN LATERAL (
  SELECT 1 FROM action_queue q
  WHERE q.type_id = t.id AND q.priority = u.priority AND q.rank >= u.floor AND q.run_at IS NULL
  LIMIT 1) first
