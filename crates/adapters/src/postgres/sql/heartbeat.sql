-- Renews leases, each by its own length: $1-$2 the lease; $3 which types it may be of: patterns with commas between, or
-- every type. At most one entry each; what doesn't come back is lost.
WITH held AS MATERIALIZED (
  SELECT l.action_id
  FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS u(action_id, lease_id, types)
  JOIN action_leases l ON l.action_id = u.action_id AND l.lease_id = u.lease_id
  WHERE u.types IS NULL
     OR EXISTS (SELECT FROM action_types t WHERE t.id = l.type_id AND t.name LIKE ANY (string_to_array(u.types, ',')))
  ORDER BY l.action_id FOR UPDATE OF l
)
UPDATE action_leases l SET expires_at = clock_timestamp() + l.lease_for
FROM held h WHERE l.action_id = h.action_id
RETURNING l.action_id, l.lease_id, l.expires_at, l.cancel_requested
