-- Lanes in the order wanted: $1 types, $2 priorities, and from where each is read: 5 s before the least of now, $3 the
-- rank that was reached, and what was now $4 microseconds ago; $5 how many slots, and of each: $6 its worker, $7 its
-- lease or NULL for the type's, $8 its request or NULL, $9 which slot of that request it is. A lane of a type with limits
-- is read from its beginning: what is let in is as old as it is, and there is never much.
-- Deletes by id: a row that changed between look and lock would be missed by its ctid. Reads no further
-- lane once enough rows are locked. What is out of time is left to be given up.
WITH lanes AS MATERIALIZED (
  SELECT t.id AS type_id, u.priority,
         CASE WHEN t.max_running IS NULL AND t.max_running_per_user IS NULL THEN least(clock.us - u.idle_us, u.reached) - 5000000
              ELSE 0 END AS floor
  FROM unnest($1::text[], $2::int2[], $3::int8[], $4::int8[]) WITH ORDINALITY AS u(type, priority, reached, idle_us, place)
  JOIN action_types t ON t.name = u.type
  CROSS JOIN (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8 AS us) clock
  ORDER BY u.place
), picked AS (
  DELETE FROM action_queue WHERE action_id = ANY(ARRAY(
    SELECT c.action_id
    FROM lanes
    CROSS JOIN LATERAL (
      SELECT q.action_id FROM action_queue q
      WHERE q.type_id = lanes.type_id AND q.priority = lanes.priority AND q.rank >= lanes.floor AND q.run_at IS NULL
        AND (q.give_up_at IS NULL OR q.give_up_at > statement_timestamp())
      ORDER BY q.rank LIMIT $5::int4 FOR UPDATE SKIP LOCKED) c
    LIMIT $5::int4))
  RETURNING action_id, user_id, type_id, priority, rank, ready_at, next_seq, attempt, max_attempts, give_up_at, checkpoint,
            counted_for
), numbered AS MATERIALIZED (
  SELECT *, row_number() OVER () AS place FROM picked
), leased AS (
  INSERT INTO action_leases (action_id, user_id, lease_id, granted_at, expires_at, deadline_at, type_id, next_seq, attempt,
                             max_attempts, priority, lease_for, worker, give_up_at, checkpoint, request, request_place, counted_for)
  SELECT p.action_id, p.user_id, gen_random_uuid(), clock_timestamp(), clock_timestamp() + coalesce(s.lease, t.lease_ms * interval '1 ms'),
         least(clock_timestamp() + t.attempt_timeout_ms * interval '1 ms', p.give_up_at),
         p.type_id, p.next_seq + 1, p.attempt + 1, p.max_attempts, p.priority, coalesce(s.lease, t.lease_ms * interval '1 ms'), s.worker,
         p.give_up_at, p.checkpoint, s.request, s.request_place, p.counted_for
  FROM numbered p JOIN action_types t ON t.id = p.type_id
  -- Outer: more rows than slots would be an error, and not be lost.
  LEFT JOIN unnest($6::text[], $7::interval[], $8::bytea[], $9::int2[]) WITH ORDINALITY
    AS s(worker, lease, request, request_place, place) ON s.place = p.place
  RETURNING action_id, user_id, lease_id, type_id, attempt, max_attempts, next_seq, granted_at, expires_at, deadline_at
), started AS (
  INSERT INTO action_events (action_id, seq, event, data)
  SELECT action_id, next_seq, 'started', '{"attempt":' || attempt + 1 || '}' FROM picked
)
SELECT l.action_id, l.user_id, l.lease_id, t.name AS type, l.attempt, l.max_attempts, l.next_seq, l.expires_at, l.deadline_at, a.input, a.traceparent,
       (extract(epoch FROM l.granted_at - coalesce(p.ready_at, to_timestamp(p.rank / 1000000.0))) * 1000000)::int8 AS waited_us, p.priority, p.rank,
       p.checkpoint,
       (extract(epoch FROM p.give_up_at - l.granted_at) * 1000)::int8 AS time_left_ms, p.place, false AS cancel_requested
FROM leased l
JOIN numbered p ON p.action_id = l.action_id
JOIN action_types t ON t.id = l.type_id
CROSS JOIN LATERAL (SELECT input, traceparent FROM actions WHERE id = l.action_id OFFSET 0) a
