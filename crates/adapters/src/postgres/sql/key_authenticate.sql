-- Who bears a secret of this digest, until when, and for how long that is by the database's clock.
SELECT k.id, k.user_id, k.scopes, least(k.expires_at, s.retires_at) AS expires_at,
       (extract(epoch FROM least(k.expires_at, s.retires_at) - clock_timestamp()) * 1000)::int8 AS valid_for_ms
FROM api_key_secrets s
JOIN api_keys k ON k.id = s.api_key_id
JOIN users u ON u.id = k.user_id
WHERE s.digest = $1::bytea
  AND (s.retires_at IS NULL OR s.retires_at > clock_timestamp())
  AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
  AND k.revoked_at IS NULL
  AND u.status = 'active' AND u.deleted_at IS NULL
