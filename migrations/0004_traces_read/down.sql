-- A view's columns can't be taken away one by one.
DROP VIEW action_states;
CREATE VIEW action_states AS
SELECT a.id, a.user_id, a.api_key_id, a.retry_of, a.created_at, a.type_id, a.priority, a.max_attempts, a.input,
       coalesce(q.run_at, a.run_at) AS run_at,
       CASE WHEN r.action_id IS NOT NULL THEN r.status
            WHEN l.action_id IS NOT NULL THEN 'running'
            WHEN q.run_at IS NOT NULL THEN 'scheduled'
            WHEN q.action_id IS NOT NULL THEN 'queued' END AS status,
       coalesce(r.attempt, l.attempt, q.attempt) AS attempt,
       coalesce(r.started_at, l.granted_at) AS started_at,
       r.finished_at, r.output, r.error,
       coalesce(r.last_seq, l.next_seq - 1, q.next_seq - 1) AS last_seq
FROM actions a
LEFT JOIN action_results r ON r.action_id = a.id
LEFT JOIN action_queue q ON q.action_id = a.id
LEFT JOIN action_leases l ON l.action_id = a.id;
