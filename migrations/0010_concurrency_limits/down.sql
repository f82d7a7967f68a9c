-- What was held is claimable.
CREATE OR REPLACE VIEW action_states AS
SELECT a.id, a.user_id, a.api_key_id, a.retry_of, a.created_at, a.type_id, a.priority, a.max_attempts, a.input,
       coalesce(q.run_at, a.run_at) AS run_at,
       CASE WHEN r.action_id IS NOT NULL THEN r.status
            WHEN l.action_id IS NOT NULL THEN 'running'
            WHEN q.run_at IS NOT NULL THEN 'scheduled'
            WHEN q.action_id IS NOT NULL THEN 'queued' END AS status,
       coalesce(r.attempt, l.attempt, q.attempt) AS attempt,
       coalesce(r.started_at, l.granted_at) AS started_at,
       r.finished_at, r.output, r.error,
       coalesce(r.last_seq, l.next_seq - 1, q.next_seq - 1) AS last_seq,
       a.traceparent
FROM actions a
LEFT JOIN action_results r ON r.action_id = a.id
LEFT JOIN action_queue q ON q.action_id = a.id
LEFT JOIN action_leases l ON l.action_id = a.id;
DROP FUNCTION admit_actions(text, int4);
UPDATE action_queue SET run_at = NULL WHERE run_at = '9999-12-31 00:00:00+00'::timestamptz;
DROP INDEX action_queue_held_by_user;
DROP INDEX action_queue_held;
ALTER TABLE action_queue DROP COLUMN ready_at;
ALTER TABLE action_types DROP COLUMN max_running, DROP COLUMN max_running_per_user, DROP COLUMN max_running_per_replica;
