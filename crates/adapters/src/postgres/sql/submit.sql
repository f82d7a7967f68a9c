-- Requests of one action or many, each request with an optional idempotency key on its first action ($14 names the
-- first action of each one's request). A request is accepted whole or not at all: not where its key was taken before,
-- and not where one of its actions names no known type. Answers which are new, and whose type is known. Keys are
-- inserted in order: two statements with the same keys in different order would deadlock.
-- The rank of each is made of $15-$18: its lane's head, or from where to look for it, the least rank that its user may have,
-- and what is to be added. In a lane in which nothing waits it is now; it is never more than ten minutes ahead of that.
-- $19 is how many actions of the request's key may wait, or NULL: a request that would pass that is not accepted either.
-- It counts no further than that, and not at all without a limit.
WITH input AS MATERIALIZED (
  SELECT u.*, t.id AS type_id, t.time_limit_ms, t.max_running, t.max_running_per_user,
         bool_and(t.id IS NOT NULL) OVER (PARTITION BY u.first) AS is_complete
  FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::int2[], $7::int2[], $8::timestamptz[], $9::text[],
              $10::bytea[], $11::text[], $12::bytea[], $13::text[], $14::uuid[], $15::int8[], $16::int8[], $17::int8[], $18::int8[], $19::int4[])
    WITH ORDINALITY
    AS u(id, user_id, api_key_id, retry_of, type, priority, max_attempts, run_at, input, scope, key, request_hash, traceparent, first,
         head, look_from, after, ahead, max_queued, place)
  LEFT JOIN action_types t ON t.name = u.type AND t.removed_at IS NULL
), crowded AS MATERIALIZED (
  SELECT i.first FROM input i WHERE i.max_queued IS NOT NULL
  GROUP BY i.first, i.api_key_id, i.max_queued
  HAVING count(*) + (SELECT count(*) FROM (
    SELECT FROM action_queue q WHERE q.counted_for = i.api_key_id LIMIT i.max_queued) waiting) > i.max_queued
), taken AS MATERIALIZED (
  SELECT i.id, i.scope, i.key, i.request_hash,
         (SELECT array_agg(one.id ORDER BY one.place) FROM input one WHERE one.first = i.id) AS action_ids
  FROM input i WHERE i.key IS NOT NULL AND i.is_complete AND i.first NOT IN (SELECT first FROM crowded)
), keyed AS (
  INSERT INTO idempotency_keys (scope, key, resource_id, action_ids, request_hash)
  SELECT scope, key, id, CASE WHEN cardinality(action_ids) > 1 THEN action_ids END, request_hash FROM taken
  ORDER BY scope, key COLLATE "C"
  ON CONFLICT (scope, key) DO NOTHING
  RETURNING resource_id
), refused AS MATERIALIZED (
  SELECT id FROM taken WHERE id NOT IN (SELECT resource_id FROM keyed)
), fresh AS MATERIALIZED (
  SELECT i.* FROM input i
  WHERE i.is_complete AND i.first NOT IN (SELECT id FROM refused) AND i.first NOT IN (SELECT first FROM crowded)
), asked AS (
  INSERT INTO actions (id, user_id, api_key_id, retry_of, type_id, priority, max_attempts, run_at, input, traceparent)
  SELECT id, user_id, api_key_id, retry_of, type_id, priority, max_attempts, run_at, input, traceparent FROM fresh
), clock AS MATERIALIZED (
  SELECT clock_timestamp() AS at, (extract(epoch FROM clock_timestamp()) * 1000000)::int8 AS us
), heads AS MATERIALIZED (
  SELECT lane.type_id, lane.priority, least(
    (SELECT q.rank FROM action_queue q
     WHERE q.type_id = lane.type_id AND q.priority = lane.priority AND q.run_at IS NULL AND q.rank >= lane.look_from
     ORDER BY q.rank LIMIT 1),
    (SELECT q.rank FROM action_queue q
     WHERE q.type_id = lane.type_id AND q.priority = lane.priority AND q.run_at = '9999-12-31 00:00:00+00'::timestamptz
     ORDER BY q.rank LIMIT 1)) AS rank
  FROM (SELECT f.type_id, f.priority, least(min(f.look_from), clock.us) AS look_from
        FROM fresh f CROSS JOIN clock WHERE f.head IS NULL GROUP BY f.type_id, f.priority, clock.us) lane
), placed AS MATERIALIZED (
  SELECT f.*, CASE WHEN f.run_at > clock.at THEN f.run_at END AS begins_at,
         f.max_running IS NOT NULL OR f.max_running_per_user IS NOT NULL AS is_limited,
         least(CASE WHEN f.head IS NULL AND h.rank IS NULL THEN clock.us ELSE greatest(f.head, h.rank, f.after) END + f.ahead,
               clock.us + 600000000) AS rank, h.rank AS seen
  FROM fresh f CROSS JOIN clock
  LEFT JOIN heads h ON f.head IS NULL AND h.type_id = f.type_id AND h.priority = f.priority
), queued AS (
  INSERT INTO action_queue (action_id, user_id, type_id, priority, rank, run_at, next_seq, attempt, max_attempts, give_up_at,
                            counted_for)
  SELECT id, user_id, type_id, priority, rank,
         coalesce(begins_at, CASE WHEN is_limited THEN '9999-12-31 00:00:00+00'::timestamptz END), 2, 0, max_attempts,
         greatest(clock_timestamp(), run_at) + time_limit_ms * interval '1 ms', CASE WHEN max_queued IS NOT NULL THEN api_key_id END
  FROM placed
), said AS (
  INSERT INTO action_events (action_id, seq, event, data)
  SELECT id, 1, 'created', '{"action_id":"' || id || '"}' FROM fresh
)
SELECT i.id, p.id IS NOT NULL AS is_new, i.type_id IS NOT NULL AS is_known,
       CASE WHEN p.begins_at IS NULL THEN p.rank END AS rank, p.seen, coalesce(p.is_limited, false) AS is_limited,
       i.first IN (SELECT first FROM crowded) AS is_crowded
FROM input i LEFT JOIN placed p ON p.id = i.id
ORDER BY i.place
