-- Back to the queue after a pause, the attempt used: $1-$4 per lease, at most one entry each. No row: the lease
-- is lost. Not requeued: no attempt is left, the next one would begin after the action's time is up, or a cancel was
-- asked for; the holder finishes instead. Without a pause it goes on where its lane is, one after the other for each user:
-- it has had its turn.
WITH held AS MATERIALIZED (
  SELECT l.action_id, l.cancel_requested, u.pause, u.data, clock_timestamp() + u.pause AS run_at
  FROM unnest($1::uuid[], $2::uuid[], $3::interval[], $4::text[]) AS u(action_id, lease_id, pause, data)
  JOIN action_leases l ON l.action_id = u.action_id AND l.lease_id = u.lease_id
  ORDER BY l.action_id FOR UPDATE OF l
), gone AS (
  DELETE FROM action_leases l USING held h
  WHERE l.action_id = h.action_id AND l.attempt < l.max_attempts AND NOT l.cancel_requested
    AND (l.give_up_at IS NULL OR h.run_at < l.give_up_at)
  RETURNING l.*, h.pause, h.data, h.run_at
), heads AS MATERIALIZED (
  SELECT lane.type_id, lane.priority, least(
    (SELECT q.rank FROM action_queue q
     WHERE q.type_id = lane.type_id AND q.priority = lane.priority AND q.run_at IS NULL ORDER BY q.rank LIMIT 1),
    (SELECT q.rank FROM action_queue q
     WHERE q.type_id = lane.type_id AND q.priority = lane.priority AND q.run_at = '9999-12-31 00:00:00+00'::timestamptz
     ORDER BY q.rank LIMIT 1)) AS rank
  FROM (SELECT DISTINCT type_id, priority FROM gone WHERE pause <= interval '0') lane
), back AS (
  INSERT INTO action_queue (action_id, user_id, type_id, priority, rank, run_at, next_seq, attempt, max_attempts, give_up_at, checkpoint,
                            counted_for)
  SELECT g.action_id, g.user_id, g.type_id, g.priority,
         least((extract(epoch FROM clock_timestamp()) * 1000000)::int8,
               h.rank + (row_number() OVER (PARTITION BY g.user_id, g.type_id, g.priority ORDER BY g.action_id) - 1) * 1000),
         CASE WHEN g.pause > interval '0' THEN g.run_at
              WHEN t.max_running IS NOT NULL OR t.max_running_per_user IS NOT NULL THEN '9999-12-31 00:00:00+00'::timestamptz END,
         g.next_seq + 1, g.attempt, g.max_attempts, g.give_up_at, g.checkpoint, g.counted_for
  FROM gone g JOIN action_types t ON t.id = g.type_id
  LEFT JOIN heads h ON h.type_id = g.type_id AND h.priority = g.priority
), said AS (
  INSERT INTO action_events (action_id, seq, event, data) SELECT action_id, next_seq, 'retry', data FROM gone
)
SELECT h.action_id, g.next_seq AS last_seq, h.cancel_requested, t.name AS type, (extract(epoch FROM clock_timestamp() - g.granted_at) * 1000000)::int8 AS took_us,
       t.id IS NOT NULL AND (t.max_running IS NOT NULL OR t.max_running_per_user IS NOT NULL) AS is_limited
FROM held h LEFT JOIN gone g ON g.action_id = h.action_id LEFT JOIN action_types t ON t.id = g.type_id
