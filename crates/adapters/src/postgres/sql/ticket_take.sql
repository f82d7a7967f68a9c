-- $1 digest, $2 action. The ticket is gone with this, whoever else asks for it at the same time; what it stands for
-- counts only while the key that asked for it is valid, and so are its user and the one it acted for.
WITH taken AS (
  DELETE FROM stream_tickets WHERE digest = $1::bytea AND action_id = $2::uuid AND expires_at > clock_timestamp()
  RETURNING api_key_id, subject_id, caller_expires_at
)
SELECT t.api_key_id, t.subject_id, t.caller_expires_at, k.user_id AS owner_id, k.scopes
FROM taken t
LEFT JOIN api_keys k ON k.id = t.api_key_id
LEFT JOIN users o ON o.id = k.user_id
LEFT JOIN users s ON s.id = t.subject_id
WHERE (t.api_key_id IS NULL
       OR k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
          AND o.status = 'active' AND o.deleted_at IS NULL)
  AND (t.subject_id IS NULL OR s.status = 'active' AND s.deleted_at IS NULL)
