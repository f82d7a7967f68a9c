-- $1 id, $2 email, $3 email key, $4 name, $5 external id, $6 password hash; $7 scope, $8 key, $9 request hash;
-- $10 audit id, $11 actor, $12 actor's key, $13 subject, $14 request id. No row: refused by the idempotency key.
WITH keyed AS (
  INSERT INTO idempotency_keys (scope, key, resource_id, request_hash)
  SELECT $7::bytea, $8::text, $1::uuid, $9::bytea WHERE $8::text IS NOT NULL
  ON CONFLICT (scope, key) DO NOTHING
  RETURNING resource_id
), made AS (
  INSERT INTO users (id, email, email_key, name, external_id, status, password_hash, created_at, updated_at)
  SELECT $1::uuid, $2::text, $3::text, $4::text, $5::text, 'active', $6::text, now.now, now.now
  FROM (SELECT clock_timestamp() AS now) now
  WHERE $8::text IS NULL OR EXISTS (SELECT FROM keyed)
  RETURNING id, email, name, external_id, status, created_at, updated_at
), said AS (
  INSERT INTO audit_events (id, kind, actor, actor_key_id, subject_id, request_id, user_id)
  SELECT $10::uuid, 'user.created', $11::text, $12::uuid, $13::uuid, $14::text, id FROM made
)
SELECT * FROM made
