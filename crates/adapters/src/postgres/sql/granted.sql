-- The leases that were granted to the requests $1, and whether they hold still.
SELECT l.request, l.action_id, l.user_id, l.lease_id, t.name AS type, l.attempt, l.max_attempts, l.next_seq, l.expires_at, l.deadline_at,
       l.cancel_requested, a.input, a.traceparent, l.checkpoint,
       (extract(epoch FROM l.give_up_at - clock_timestamp()) * 1000)::int8 AS time_left_ms, 0::int8 AS place, 0::int8 AS waited_us,
       l.expires_at > clock_timestamp() AND l.deadline_at > clock_timestamp() AS holds,
       0::int8 AS rank, l.priority
FROM unnest($1::bytea[]) AS u(request)
JOIN action_leases l ON l.request = u.request
JOIN action_types t ON t.id = l.type_id
CROSS JOIN LATERAL (SELECT input, traceparent FROM actions WHERE id = l.action_id OFFSET 0) a
WHERE l.request IS NOT NULL
ORDER BY l.request, l.request_place
