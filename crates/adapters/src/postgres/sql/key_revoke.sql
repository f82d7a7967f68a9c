-- $1 key, $2 owner or everybody's; $3 audit id, $4 actor, $5 actor's key, $6 subject, $7 request id.
WITH mine AS MATERIALIZED (
  SELECT id FROM api_keys WHERE id = $1::uuid AND ($2::uuid IS NULL OR user_id = $2::uuid)
), revoked AS (
  UPDATE api_keys k SET revoked_at = clock_timestamp() FROM mine
  WHERE k.id = mine.id AND k.revoked_at IS NULL
  RETURNING k.id, k.user_id
), said AS (
  INSERT INTO audit_events (id, kind, actor, actor_key_id, subject_id, request_id, user_id, api_key_id)
  SELECT $3::uuid, 'key.revoked', $4::text, $5::uuid, $6::uuid, $7::text, user_id, id FROM revoked
), raised AS (
  UPDATE identity_generation SET generation = generation + 1 WHERE EXISTS (SELECT FROM revoked)
)
SELECT EXISTS (SELECT FROM mine) AS exists
