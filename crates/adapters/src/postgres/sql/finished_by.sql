-- Which of the leases ended their actions: tells a repeated outcome from a lost lease.
SELECT u.action_id
FROM unnest($1::uuid[], $2::uuid[]) AS u(action_id, lease_id)
CROSS JOIN LATERAL (SELECT lease_id FROM action_results WHERE action_id = u.action_id OFFSET 0) r
WHERE r.lease_id = u.lease_id
