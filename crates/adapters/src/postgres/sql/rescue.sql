-- Leases that ran out and attempts that ran over: $1 how many. Retry data: $2 lease expired, $3 attempt
-- timed out. Errors and done data: $4, $5 lease expired; $6, $7 attempt timed out; $8, $9 out of time altogether;
-- $10 done data of a cancel.
-- A silent performer's action goes on at once; one that took too long backs off, with full jitter. Neither does if the
-- next attempt would begin after the action's time is up.
-- What goes on at once goes on where its lane is, one after the other for each user.
-- SKIP LOCKED looks at the newest version: a lease that was just extended is left alone.
WITH late AS MATERIALIZED (
  SELECT action_id, expires_at < clock_timestamp() AS is_expired, clock_timestamp() AS at
  FROM action_leases
  WHERE expires_at < clock_timestamp() OR deadline_at < clock_timestamp()
  ORDER BY action_id LIMIT $1::int4 FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM action_leases l USING late, action_types t
  WHERE l.action_id = late.action_id AND t.id = l.type_id
  RETURNING l.action_id, l.user_id, l.type_id, t.name AS type,
    t.max_running IS NOT NULL OR t.max_running_per_user IS NOT NULL AS is_limited, l.priority, l.next_seq, l.attempt, l.max_attempts, l.granted_at,
    l.cancel_requested, l.give_up_at, l.checkpoint, l.counted_for, late.is_expired, late.at,
    CASE WHEN NOT late.is_expired THEN late.at
      + least(t.retry_max_ms, t.retry_initial_ms * power(t.retry_factor, l.attempt - 1)) * random() * interval '1 ms' END AS run_at
), judged AS MATERIALIZED (
  SELECT gone.*, CASE WHEN cancel_requested THEN 'cancelled'
                      WHEN give_up_at <= at THEN 'given_up'
                      WHEN attempt >= max_attempts OR run_at >= give_up_at THEN 'failed'
                      ELSE 'again' END AS verdict
  FROM gone
), heads AS MATERIALIZED (
  SELECT lane.type_id, lane.priority, least(
    (SELECT q.rank FROM action_queue q
     WHERE q.type_id = lane.type_id AND q.priority = lane.priority AND q.run_at IS NULL ORDER BY q.rank LIMIT 1),
    (SELECT q.rank FROM action_queue q
     WHERE q.type_id = lane.type_id AND q.priority = lane.priority AND q.run_at = '9999-12-31 00:00:00+00'::timestamptz
     ORDER BY q.rank LIMIT 1)) AS rank
  FROM (SELECT DISTINCT type_id, priority FROM judged WHERE verdict = 'again' AND run_at IS NULL) lane
), again AS (
  INSERT INTO action_queue (action_id, user_id, type_id, priority, rank, run_at, next_seq, attempt, max_attempts, give_up_at, checkpoint,
                            counted_for)
  SELECT j.action_id, j.user_id, j.type_id, j.priority,
         least((extract(epoch FROM clock_timestamp()) * 1000000)::int8,
               h.rank + (row_number() OVER (PARTITION BY j.user_id, j.type_id, j.priority ORDER BY j.action_id) - 1) * 1000),
         coalesce(j.run_at, CASE WHEN j.is_limited THEN '9999-12-31 00:00:00+00'::timestamptz END),
         j.next_seq + 1, j.attempt, j.max_attempts, j.give_up_at, j.checkpoint, j.counted_for
  FROM judged j LEFT JOIN heads h ON h.type_id = j.type_id AND h.priority = j.priority
  WHERE j.verdict = 'again'
), said AS (
  INSERT INTO action_events (action_id, seq, event, data)
  SELECT action_id, next_seq, CASE verdict WHEN 'again' THEN 'retry' ELSE 'done' END,
         CASE WHEN verdict = 'cancelled' THEN $10::text
              WHEN verdict = 'given_up' THEN $9::text
              WHEN verdict = 'again' AND is_expired THEN $2::text
              WHEN verdict = 'again' THEN $3::text
              WHEN is_expired THEN $5::text
              ELSE $7::text END
  FROM judged
), ended AS (
  INSERT INTO action_results (action_id, user_id, status, error, attempt, started_at, last_seq)
  SELECT action_id, user_id, CASE verdict WHEN 'cancelled' THEN 'cancelled' ELSE 'failed' END,
         CASE WHEN verdict = 'given_up' THEN $8::text
              WHEN verdict = 'failed' AND is_expired THEN $4::text
              WHEN verdict = 'failed' THEN $6::text END,
         attempt, granted_at, next_seq
  FROM judged WHERE verdict <> 'again'
)
SELECT action_id, type, verdict, is_expired, is_limited, next_seq AS last_seq FROM judged
