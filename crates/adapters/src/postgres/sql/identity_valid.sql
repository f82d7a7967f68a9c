-- $1 key, $2 subject: NULL needs no look.
SELECT ($1::uuid IS NULL OR EXISTS (
          SELECT FROM api_keys k JOIN users u ON u.id = k.user_id
          WHERE k.id = $1::uuid AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
            AND u.status = 'active' AND u.deleted_at IS NULL))
   AND ($2::uuid IS NULL OR EXISTS (
          SELECT FROM users WHERE id = $2::uuid AND status = 'active' AND deleted_at IS NULL)) AS is_valid
