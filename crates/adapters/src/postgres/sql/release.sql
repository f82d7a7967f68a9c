-- Back to the queue, no attempt used. Whoever asked to cancel gets that instead: $3 retry data, $4 done data. It steps
-- a little back in its lane: for whoever gave it back it may be the wrong thing, and others may wait for that.
WITH held AS MATERIALIZED (
  SELECT l.action_id
  FROM unnest($1::uuid[], $2::uuid[]) AS u(action_id, lease_id)
  JOIN action_leases l ON l.action_id = u.action_id AND l.lease_id = u.lease_id
  ORDER BY l.action_id FOR UPDATE OF l
), gone AS (
  DELETE FROM action_leases l USING held h WHERE l.action_id = h.action_id RETURNING l.*
), heads AS MATERIALIZED (
  SELECT lane.type_id, lane.priority, least(
    (SELECT q.rank FROM action_queue q
     WHERE q.type_id = lane.type_id AND q.priority = lane.priority AND q.run_at IS NULL ORDER BY q.rank LIMIT 1),
    (SELECT q.rank FROM action_queue q
     WHERE q.type_id = lane.type_id AND q.priority = lane.priority AND q.run_at = '9999-12-31 00:00:00+00'::timestamptz
     ORDER BY q.rank LIMIT 1)) AS rank
  FROM (SELECT DISTINCT type_id, priority FROM gone WHERE NOT cancel_requested) lane
), back AS (
  INSERT INTO action_queue (action_id, user_id, type_id, priority, rank, run_at, next_seq, attempt, max_attempts, give_up_at, checkpoint,
                            counted_for)
  SELECT g.action_id, g.user_id, g.type_id, g.priority,
         least((extract(epoch FROM clock_timestamp()) * 1000000)::int8, h.rank + 50000),
         CASE WHEN t.max_running IS NOT NULL OR t.max_running_per_user IS NOT NULL THEN '9999-12-31 00:00:00+00'::timestamptz END,
         g.next_seq + 1, g.attempt - 1, g.max_attempts, g.give_up_at, g.checkpoint, g.counted_for
  FROM gone g JOIN action_types t ON t.id = g.type_id
  LEFT JOIN heads h ON h.type_id = g.type_id AND h.priority = g.priority
  WHERE NOT g.cancel_requested
), said AS (
  INSERT INTO action_events (action_id, seq, event, data)
  SELECT action_id, next_seq, CASE WHEN cancel_requested THEN 'done' ELSE 'retry' END,
         CASE WHEN cancel_requested THEN $4::text ELSE $3::text END
  FROM gone
), ended AS (
  INSERT INTO action_results (action_id, user_id, lease_id, status, attempt, started_at, last_seq)
  SELECT action_id, user_id, lease_id, 'cancelled', attempt, granted_at, next_seq FROM gone WHERE cancel_requested
)
SELECT g.action_id, g.next_seq AS last_seq, t.name AS type, g.cancel_requested AS is_cancelled,
       t.max_running IS NOT NULL OR t.max_running_per_user IS NOT NULL AS is_limited
FROM gone g JOIN action_types t ON t.id = g.type_id
