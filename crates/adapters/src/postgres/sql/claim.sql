-- Lanes in the order wanted: $1 types, $2 priorities, $3 floors; $4 how many; $5 worker; $6 lease, or the type's.
-- Deletes by id: a row that changed between look and lock would be missed by its ctid. Reads no further
-- lane once enough rows are locked. What is out of time is left to be given up.
WITH lanes AS MATERIALIZED (
  SELECT t.id AS type_id, u.priority, u.floor
  FROM unnest($1::text[], $2::int2[], $3::int8[]) WITH ORDINALITY AS u(type, priority, floor, place)
  JOIN action_types t ON t.name = u.type
  ORDER BY u.place
), picked AS (
  DELETE FROM action_queue WHERE action_id = ANY(ARRAY(
    SELECT c.action_id
    FROM lanes
    CROSS JOIN LATERAL (
      SELECT q.action_id FROM action_queue q
      WHERE q.type_id = lanes.type_id AND q.priority = lanes.priority AND q.rank >= lanes.floor AND q.run_at IS NULL
        AND (q.give_up_at IS NULL OR q.give_up_at > statement_timestamp())
      ORDER BY q.rank LIMIT $4::int4 FOR UPDATE SKIP LOCKED) c
    LIMIT $4::int4))
  RETURNING action_id, user_id, type_id, priority, rank, next_seq, attempt, max_attempts, give_up_at, checkpoint
), leased AS (
  INSERT INTO action_leases (action_id, user_id, lease_id, granted_at, expires_at, deadline_at, type_id, next_seq, attempt,
                             max_attempts, priority, lease_for, worker, give_up_at, checkpoint)
  SELECT p.action_id, p.user_id, gen_random_uuid(), clock_timestamp(), clock_timestamp() + coalesce($6::interval, t.lease_ms * interval '1 ms'),
         least(clock_timestamp() + t.attempt_timeout_ms * interval '1 ms', p.give_up_at),
         p.type_id, p.next_seq + 1, p.attempt + 1, p.max_attempts, p.priority, coalesce($6::interval, t.lease_ms * interval '1 ms'), $5::text,
         p.give_up_at, p.checkpoint
  FROM picked p JOIN action_types t ON t.id = p.type_id
  RETURNING action_id, user_id, lease_id, type_id, attempt, max_attempts, next_seq, granted_at, expires_at, deadline_at
), started AS (
  INSERT INTO action_events (action_id, seq, event, data)
  SELECT action_id, next_seq, 'started', '{"attempt":' || attempt + 1 || '}' FROM picked
)
SELECT l.action_id, l.user_id, l.lease_id, t.name AS type, l.attempt, l.max_attempts, l.next_seq, l.expires_at, l.deadline_at, a.input, a.traceparent,
       (extract(epoch FROM l.granted_at) * 1000000)::int8 - p.rank AS waited_us, p.checkpoint,
       (extract(epoch FROM p.give_up_at - l.granted_at) * 1000)::int8 AS time_left_ms
FROM leased l
JOIN picked p ON p.action_id = l.action_id
JOIN action_types t ON t.id = l.type_id
CROSS JOIN LATERAL (SELECT input, traceparent FROM actions WHERE id = l.action_id OFFSET 0) a
