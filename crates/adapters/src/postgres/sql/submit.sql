-- A batch of actions, each with an optional idempotency key. Answers which are new: the others were refused
-- by their key, and what doesn't come back names no known type. Keys are inserted in order: two batches with
-- the same keys in different order would deadlock.
WITH input AS MATERIALIZED (
  SELECT u.*, t.id AS type_id, t.time_limit_ms
  FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::int2[], $7::int2[], $8::timestamptz[], $9::text[],
              $10::bytea[], $11::text[], $12::bytea[], $13::text[])
    AS u(id, user_id, api_key_id, retry_of, type, priority, max_attempts, run_at, input, scope, key, request_hash, traceparent)
  JOIN action_types t ON t.name = u.type AND t.removed_at IS NULL
), keyed AS (
  INSERT INTO idempotency_keys (scope, key, resource_id, request_hash)
  SELECT scope, key, id, request_hash FROM input WHERE key IS NOT NULL
  ORDER BY scope, key COLLATE "C"
  ON CONFLICT (scope, key) DO NOTHING
  RETURNING resource_id
), fresh AS MATERIALIZED (
  SELECT i.* FROM input i WHERE i.key IS NULL OR i.id IN (SELECT resource_id FROM keyed)
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
SELECT i.id, f.id IS NOT NULL AS is_new FROM input i LEFT JOIN fresh f ON f.id = i.id
