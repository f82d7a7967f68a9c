-- erasure_stop
-- $1 actions, $2 done data of a cancel. Whoever performs one of them has lost the lease from the commit on, so that
-- nobody writes to its log any more. One that moves from queue to lease meanwhile is missed, and met the next time.
WITH waiting AS MATERIALIZED (
  SELECT action_id FROM action_queue WHERE action_id = ANY($1::uuid[]) ORDER BY action_id FOR UPDATE
), dequeued AS (
  DELETE FROM action_queue q USING waiting w WHERE q.action_id = w.action_id
  RETURNING q.action_id, q.user_id, q.next_seq, q.attempt, NULL::timestamptz AS granted_at
), held AS MATERIALIZED (
  SELECT action_id FROM action_leases WHERE action_id = ANY($1::uuid[]) ORDER BY action_id FOR UPDATE
), taken AS (
  DELETE FROM action_leases l USING held h WHERE l.action_id = h.action_id
  RETURNING l.action_id, l.user_id, l.next_seq, l.attempt, l.granted_at
), stopped AS (
  SELECT * FROM dequeued UNION ALL SELECT * FROM taken
), said AS (
  INSERT INTO action_events (action_id, seq, event, data) SELECT action_id, next_seq, 'done', $2::text FROM stopped
)
INSERT INTO action_results (action_id, user_id, status, attempt, started_at, last_seq)
SELECT action_id, user_id, 'cancelled', attempt, granted_at, next_seq FROM stopped
