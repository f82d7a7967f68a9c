-- Waiting actions whose time is up: $1 how many; $2 error, $3 done data. The statement's own time, which does not move
-- while it runs, is what an index can be read up to.
WITH late AS MATERIALIZED (
  SELECT action_id FROM action_queue
  WHERE give_up_at IS NOT NULL AND give_up_at <= statement_timestamp()
  ORDER BY give_up_at LIMIT $1::int4 FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM action_queue q USING late WHERE q.action_id = late.action_id
  RETURNING q.action_id, q.user_id, q.type_id, q.next_seq, q.attempt
), said AS (
  INSERT INTO action_events (action_id, seq, event, data) SELECT action_id, next_seq, 'done', $3::text FROM gone
), ended AS (
  INSERT INTO action_results (action_id, user_id, status, error, attempt, last_seq)
  SELECT action_id, user_id, 'failed', $2::text, attempt, next_seq FROM gone
)
SELECT g.action_id, t.name AS type, g.next_seq AS last_seq FROM gone g JOIN action_types t ON t.id = g.type_id
