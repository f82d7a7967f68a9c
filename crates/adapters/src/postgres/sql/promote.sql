-- What is due becomes claimable: $1 how many. The statement's own time, which does not move while it runs, is what an
-- index can be read up to.
WITH due AS MATERIALIZED (
  SELECT action_id FROM action_queue
  WHERE run_at IS NOT NULL AND run_at <= statement_timestamp()
  ORDER BY run_at LIMIT $1::int4 FOR UPDATE SKIP LOCKED
)
UPDATE action_queue q SET run_at = NULL, rank = (extract(epoch FROM clock_timestamp()) * 1000000)::int8
FROM due, action_types t
WHERE q.action_id = due.action_id AND t.id = q.type_id
RETURNING t.name AS type
