-- $1 actions, $2 owner or everybody's, $3 types they may be of. Each is looked for in its own partition.
SELECT s.id, s.user_id, s.api_key_id, s.retry_of, t.name AS type, s.priority, s.attempt, s.max_attempts,
       s.status, s.created_at, s.run_at, s.started_at, s.finished_at, s.error
FROM unnest($1::uuid[]) AS u(id)
CROSS JOIN LATERAL (SELECT * FROM action_states a WHERE a.id = u.id OFFSET 0) s
JOIN action_types t ON t.id = s.type_id
WHERE ($2::uuid IS NULL OR s.user_id = $2::uuid) AND ($3::text[] IS NULL OR t.name LIKE ANY ($3::text[]))
