-- Leases as they stand: a lease that does not come back is lost.
SELECT l.action_id, l.lease_id, t.name AS type, l.attempt, l.max_attempts, l.cancel_requested, l.next_seq,
       t.retry_initial_ms, t.retry_factor, t.retry_max_ms
FROM unnest($1::uuid[], $2::uuid[]) AS u(action_id, lease_id)
JOIN action_leases l ON l.action_id = u.action_id AND l.lease_id = u.lease_id
JOIN action_types t ON t.id = l.type_id
