-- Requests of one action or many, each request with an optional idempotency key on its first action ($14 names the
-- first action of each one's request). A request is accepted whole or not at all: not where its key was taken before,
-- and not where one of its actions names no known type. Answers which are new, and whose type is known. Keys are
-- inserted in order: two statements with the same keys in different order would deadlock.
WITH input AS MATERIALIZED (
  SELECT u.*, t.id AS type_id, t.time_limit_ms,
         bool_and(t.id IS NOT NULL) OVER (PARTITION BY u.first) AS is_complete
  FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::int2[], $7::int2[], $8::timestamptz[], $9::text[],
              $10::bytea[], $11::text[], $12::bytea[], $13::text[], $14::uuid[])
    WITH ORDINALITY
    AS u(id, user_id, api_key_id, retry_of, type, priority, max_attempts, run_at, input, scope, key, request_hash, traceparent, first, place)
  LEFT JOIN action_types t ON t.name = u.type AND t.removed_at IS NULL
), taken AS MATERIALIZED (
  SELECT i.id, i.scope, i.key, i.request_hash,
         (SELECT array_agg(one.id ORDER BY one.place) FROM input one WHERE one.first = i.id) AS action_ids
  FROM input i WHERE i.key IS NOT NULL AND i.is_complete
), keyed AS (
  INSERT INTO idempotency_keys (scope, key, resource_id, action_ids, request_hash)
  SELECT scope, key, id, CASE WHEN cardinality(action_ids) > 1 THEN action_ids END, request_hash FROM taken
  ORDER BY scope, key COLLATE "C"
  ON CONFLICT (scope, key) DO NOTHING
  RETURNING resource_id
), refused AS MATERIALIZED (
  SELECT id FROM taken WHERE id NOT IN (SELECT resource_id FROM keyed)
), fresh AS MATERIALIZED (
  SELECT i.* FROM input i WHERE i.is_complete AND i.first NOT IN (SELECT id FROM refused)
), asked AS (
  INSERT INTO actions (id, user_id, api_key_id, retry_of, type_id, priority, max_attempts, run_at, input, traceparent)
  SELECT id, user_id, api_key_id, retry_of, type_id, priority, max_attempts, run_at, input, traceparent FROM fresh
), queued AS (
  INSERT INTO action_queue (action_id, user_id, type_id, priority, rank, run_at, next_seq, attempt, max_attempts, give_up_at)
  SELECT id, user_id, type_id, priority, (extract(epoch FROM clock_timestamp()) * 1000000)::int8, CASE WHEN run_at > clock_timestamp() THEN run_at END, 2, 0, max_attempts,
         greatest(clock_timestamp(), run_at) + time_limit_ms * interval '1 ms'
  FROM fresh
), said AS (
  INSERT INTO action_events (action_id, seq, event, data)
  SELECT id, 1, 'created', '{"action_id":"' || id || '"}' FROM fresh
)
SELECT i.id, f.id IS NOT NULL AS is_new, i.type_id IS NOT NULL AS is_known
FROM input i LEFT JOIN fresh f ON f.id = i.id
ORDER BY i.place
