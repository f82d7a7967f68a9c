-- Back to the queue, no attempt used. Whoever asked to cancel gets that instead: $3 retry data, $4 done data.
WITH held AS MATERIALIZED (
  SELECT l.action_id
  FROM unnest($1::uuid[], $2::uuid[]) AS u(action_id, lease_id)
  JOIN action_leases l ON l.action_id = u.action_id AND l.lease_id = u.lease_id
  ORDER BY l.action_id FOR UPDATE OF l
), gone AS (
  DELETE FROM action_leases l USING held h WHERE l.action_id = h.action_id RETURNING l.*
), back AS (
  INSERT INTO action_queue (action_id, user_id, type_id, priority, rank, run_at, next_seq, attempt, max_attempts, give_up_at, checkpoint)
  SELECT action_id, user_id, type_id, priority, (extract(epoch FROM clock_timestamp()) * 1000000)::int8, NULL, next_seq + 1, attempt - 1, max_attempts,
         give_up_at, checkpoint
  FROM gone WHERE NOT cancel_requested
), said AS (
  INSERT INTO action_events (action_id, seq, event, data)
  SELECT action_id, next_seq, CASE WHEN cancel_requested THEN 'done' ELSE 'retry' END,
         CASE WHEN cancel_requested THEN $4::text ELSE $3::text END
  FROM gone
), ended AS (
  INSERT INTO action_results (action_id, user_id, lease_id, status, attempt, started_at, last_seq)
  SELECT action_id, user_id, lease_id, 'cancelled', attempt, granted_at, next_seq FROM gone WHERE cancel_requested
)
SELECT g.action_id, g.next_seq AS last_seq, t.name AS type, g.cancel_requested AS is_cancelled
FROM gone g JOIN action_types t ON t.id = g.type_id
