-- erasure_end
-- $1 user, $2 for how long a request that was under way may still bring something.
DELETE FROM user_deletions
WHERE user_id = $1::uuid AND removing = '{}' AND deleted_at < clock_timestamp() - $2::interval
  AND NOT EXISTS (SELECT FROM actions WHERE user_id = $1::uuid)
