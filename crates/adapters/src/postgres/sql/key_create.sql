-- $1 id, $2 user, $3 name, $4 scopes, $5 expiry, $6 digest; $7 audit id, $8 actor, $9 actor's key, $10 subject,
-- $11 request id. No row: no such user.
WITH made AS (
  INSERT INTO api_keys (id, user_id, name, scopes, created_at, expires_at)
  SELECT $1::uuid, u.id, $3::text, $4::text[], clock_timestamp(), $5::timestamptz
  FROM users u WHERE u.id = $2::uuid AND u.deleted_at IS NULL FOR KEY SHARE
  RETURNING id, user_id, name, scopes, created_at, expires_at, revoked_at, last_used_at
), kept AS (
  INSERT INTO api_key_secrets (api_key_id, slot, digest, created_at) SELECT id, 1, $6::bytea, created_at FROM made
), said AS (
  INSERT INTO audit_events (id, kind, actor, actor_key_id, subject_id, request_id, user_id, api_key_id)
  SELECT $7::uuid, 'key.created', $8::text, $9::uuid, $10::uuid, $11::text, user_id, id FROM made
)
SELECT * FROM made
