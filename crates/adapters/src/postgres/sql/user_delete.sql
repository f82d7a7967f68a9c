-- user_delete
-- $1 user; $2 audit id, $3 actor, $4 actor's key, $5 subject, $6 request id.
-- A key that is issued meanwhile isn't seen here; its foreign key then refuses the whole, which is run again.
WITH gone AS (
  DELETE FROM users WHERE id = $1::uuid AND deleted_at IS NULL RETURNING id
), keyless AS (
  DELETE FROM api_keys k USING gone WHERE k.user_id = gone.id
), noted AS (
  INSERT INTO user_deletions (user_id) SELECT id FROM gone
), said AS (
  INSERT INTO audit_events (id, kind, actor, actor_key_id, subject_id, request_id, user_id)
  SELECT $2::uuid, 'user.deleted', $3::text, $4::uuid, $5::uuid, $6::text, id FROM gone
), raised AS (
  UPDATE identity_generation SET generation = generation + 1 WHERE EXISTS (SELECT FROM gone)
)
SELECT EXISTS (SELECT FROM gone) AS exists
