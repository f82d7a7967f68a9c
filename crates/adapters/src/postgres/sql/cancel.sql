-- $1 action, $2 owner or everybody's, $3 types it may be of, $4 done data. All three answers empty for an
-- action that exists: it moved between queue and lease under the statement, which is then run again.
WITH mine AS MATERIALIZED (
  SELECT a.id, t.name AS type, t.max_running IS NOT NULL OR t.max_running_per_user IS NOT NULL AS is_limited
  FROM actions a JOIN action_types t ON t.id = a.type_id
  WHERE a.id = $1::uuid AND ($2::uuid IS NULL OR a.user_id = $2::uuid) AND ($3::text[] IS NULL OR t.name LIKE ANY ($3::text[]))
), dequeued AS (
  DELETE FROM action_queue q USING mine m WHERE q.action_id = m.id RETURNING q.action_id, q.user_id, q.next_seq, q.attempt
), asked AS (
  UPDATE action_leases l SET cancel_requested = true FROM mine m WHERE l.action_id = m.id RETURNING l.action_id
), said AS (
  INSERT INTO action_events (action_id, seq, event, data) SELECT action_id, next_seq, 'done', $4::text FROM dequeued
), ended AS (
  INSERT INTO action_results (action_id, user_id, status, attempt, last_seq)
  SELECT action_id, user_id, 'cancelled', attempt, next_seq FROM dequeued
)
SELECT (SELECT type FROM mine) AS type,
       coalesce((SELECT is_limited FROM mine), false) AS is_limited,
       (SELECT next_seq FROM dequeued) AS last_seq,
       EXISTS (SELECT FROM asked) AS is_asked,
       EXISTS (SELECT FROM action_results r WHERE r.action_id = $1::uuid) AS is_over
