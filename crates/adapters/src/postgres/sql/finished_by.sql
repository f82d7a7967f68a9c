-- Which of the leases ended their actions: tells a repeated outcome from a lost lease. $1-$2 the lease; $3 which types it
-- may be of: patterns with commas between, or every type.
SELECT u.action_id, u.lease_id
FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS u(action_id, lease_id, types)
CROSS JOIN LATERAL (SELECT lease_id FROM action_results WHERE action_id = u.action_id OFFSET 0) r
WHERE r.lease_id = u.lease_id
  AND (u.types IS NULL OR EXISTS (
    SELECT FROM (SELECT type_id FROM actions WHERE id = u.action_id OFFSET 0) a JOIN action_types t ON t.id = a.type_id
    WHERE t.name LIKE ANY (string_to_array(u.types, ','))))
