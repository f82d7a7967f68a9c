SELECT s.id, s.user_id, s.api_key_id, s.retry_of, t.name AS type, s.priority, s.attempt, s.max_attempts, s.status,
       s.created_at, s.run_at, s.started_at, s.finished_at, s.input, s.output, s.error, s.traceparent
FROM action_states s JOIN action_types t ON t.id = s.type_id
WHERE s.id = $1::uuid AND ($2::uuid IS NULL OR s.user_id = $2::uuid) AND ($3::text[] IS NULL OR t.name LIKE ANY ($3::text[]))
