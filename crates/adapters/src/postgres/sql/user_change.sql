-- $1 id; $2 email, $3 email key, $4 name, $5 status: NULL leaves it; $6 whether to set the external id to $7;
-- $8, $9 audit ids; $10 actor, $11 actor's key, $12 subject, $13 request id; $14 versions of which it must have one,
-- $15 versions of which it must have none: NULL is every version. No row: no such user.
WITH old AS MATERIALIZED (
  SELECT id, email, name, external_id, status, created_at, updated_at FROM users
  WHERE id = $1::uuid AND deleted_at IS NULL FOR UPDATE
), judged AS (
  SELECT id, email, name, external_id, status, created_at, updated_at,
         coalesce(updated_at = ANY ($14::timestamptz[]), true)
         AND NOT coalesce(updated_at = ANY ($15::timestamptz[]), true) AS is_expected
  FROM old
), changed AS (
  UPDATE users u
  SET email = coalesce($2::text, u.email), email_key = coalesce($3::text, u.email_key), name = coalesce($4::text, u.name),
      status = coalesce($5::text, u.status), external_id = CASE WHEN $6::bool THEN $7::text ELSE u.external_id END,
      updated_at = greatest(clock_timestamp(), old.updated_at + interval '1 microsecond')
  FROM judged old
  WHERE u.id = old.id AND old.is_expected
    AND (coalesce($2::text, old.email), coalesce($4::text, old.name), coalesce($5::text, old.status),
         CASE WHEN $6::bool THEN $7::text ELSE old.external_id END)
        IS DISTINCT FROM (old.email, old.name, old.status, old.external_id)
  RETURNING u.id, u.email, u.name, u.external_id, u.status, u.created_at, u.updated_at,
            u.status <> old.status AS is_status_new,
            (u.email, u.name, u.external_id) IS DISTINCT FROM (old.email, old.name, old.external_id) AS is_rest_new
), said AS (
  INSERT INTO audit_events (id, kind, actor, actor_key_id, subject_id, request_id, user_id)
  SELECT e.id, e.kind, $10::text, $11::uuid, $12::uuid, $13::text, c.id
  FROM changed c CROSS JOIN LATERAL (VALUES
    ($8::uuid, 'user.updated', c.is_rest_new),
    ($9::uuid, CASE c.status WHEN 'disabled' THEN 'user.disabled' ELSE 'user.enabled' END, c.is_status_new)) AS e(id, kind, is_so)
  WHERE e.is_so
), raised AS (
  UPDATE identity_generation SET generation = generation + 1
  WHERE EXISTS (SELECT FROM changed WHERE is_status_new AND status = 'disabled')
)
SELECT id, email, name, external_id, status, created_at, updated_at, true AS is_expected FROM changed
UNION ALL
SELECT id, email, name, external_id, status, created_at, updated_at, is_expected FROM judged
WHERE NOT EXISTS (SELECT FROM changed)
