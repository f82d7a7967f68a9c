-- What a replica has to know once a second when hints are lost: how far the logs reach that are being watched
-- ($1), which performers are to cancel, and whether identities have changed.
SELECT 'identities' AS kind, NULL::uuid AS action_id, generation AS position FROM identity_generation
UNION ALL
SELECT 'cancel', action_id, 0 FROM action_leases WHERE cancel_requested
UNION ALL
SELECT 'log', u.action_id, coalesce(q.next_seq - 1, l.next_seq - 1, r.last_seq)
FROM unnest($1::uuid[]) AS u(action_id)
LEFT JOIN action_queue q ON q.action_id = u.action_id
LEFT JOIN action_leases l ON l.action_id = u.action_id
LEFT JOIN LATERAL (SELECT last_seq FROM action_results WHERE action_id = u.action_id OFFSET 0) r ON true
WHERE coalesce(q.next_seq, l.next_seq, r.last_seq) IS NOT NULL
