-- What is due, the first ones first: $1 how many. The statement's own time, which does not move while it runs, is what an
-- index can be read up to.
SELECT q.action_id, q.user_id, t.name AS type, q.priority
FROM (SELECT action_id, user_id, type_id, priority, run_at FROM action_queue
      WHERE run_at IS NOT NULL AND run_at <= statement_timestamp()
      ORDER BY run_at LIMIT $1::int4) q
JOIN action_types t ON t.id = q.type_id
ORDER BY q.run_at
