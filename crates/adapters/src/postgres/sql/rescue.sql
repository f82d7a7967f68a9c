-- Leases that ran out and attempts that ran over: $1 how many. Retry data: $2 lease expired, $3 attempt
-- timed out. Errors and done data: $4, $5 lease expired; $6, $7 attempt timed out; $8 done data of a cancel.
-- A silent performer's action goes on at once; one that took too long backs off, with full jitter.
-- SKIP LOCKED looks at the newest version: a lease that was just extended is left alone.
WITH late AS MATERIALIZED (
  SELECT action_id, expires_at < clock_timestamp() AS is_expired
  FROM action_leases
  WHERE expires_at < clock_timestamp() OR deadline_at < clock_timestamp()
  ORDER BY action_id LIMIT $1::int4 FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM action_leases l USING late WHERE l.action_id = late.action_id
  RETURNING l.action_id, l.user_id, l.type_id, l.priority, l.next_seq, l.attempt, l.max_attempts, l.granted_at, late.is_expired,
    CASE WHEN l.cancel_requested THEN 'cancelled' WHEN l.attempt >= l.max_attempts THEN 'failed' ELSE 'again' END AS verdict
), again AS (
  INSERT INTO action_queue (action_id, user_id, type_id, priority, rank, run_at, next_seq, attempt, max_attempts)
  SELECT g.action_id, g.user_id, g.type_id, g.priority, (extract(epoch FROM clock_timestamp()) * 1000000)::int8,
         CASE WHEN NOT g.is_expired THEN clock_timestamp()
           + least(t.retry_max_ms, t.retry_initial_ms * power(t.retry_factor, g.attempt - 1)) * random() * interval '1 ms' END,
         g.next_seq + 1, g.attempt, g.max_attempts
  FROM gone g JOIN action_types t ON t.id = g.type_id WHERE g.verdict = 'again'
), said AS (
  INSERT INTO action_events (action_id, seq, event, data)
  SELECT action_id, next_seq, CASE verdict WHEN 'again' THEN 'retry' ELSE 'done' END,
         CASE WHEN verdict = 'cancelled' THEN $8::text
              WHEN verdict = 'again' AND is_expired THEN $2::text
              WHEN verdict = 'again' THEN $3::text
              WHEN is_expired THEN $5::text
              ELSE $7::text END
  FROM gone
), ended AS (
  INSERT INTO action_results (action_id, user_id, status, error, attempt, started_at, last_seq)
  SELECT action_id, user_id, verdict,
         CASE WHEN verdict = 'failed' AND is_expired THEN $4::text WHEN verdict = 'failed' THEN $6::text END,
         attempt, granted_at, next_seq
  FROM gone WHERE verdict <> 'again'
)
SELECT g.action_id, t.name AS type, g.verdict, g.is_expired, g.next_seq AS last_seq
FROM gone g JOIN action_types t ON t.id = g.type_id
