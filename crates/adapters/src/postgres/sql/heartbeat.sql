WITH held AS MATERIALIZED (
  SELECT l.action_id
  FROM unnest($1::uuid[], $2::uuid[]) AS u(action_id, lease_id)
  JOIN action_leases l ON l.action_id = u.action_id AND l.lease_id = u.lease_id
  ORDER BY l.action_id FOR UPDATE OF l
)
UPDATE action_leases l SET expires_at = clock_timestamp() + $3::interval
FROM held h WHERE l.action_id = h.action_id
RETURNING l.action_id, l.expires_at, l.cancel_requested
