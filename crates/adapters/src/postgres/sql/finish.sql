-- The end of attempts that end their actions: $1-$7 per lease, at most one entry each; $8-$11 per event,
-- `off` from 0, the last one `done`. Without from_seq the events go wherever the log ends.
WITH held AS MATERIALIZED (
  SELECT l.action_id, l.user_id, l.lease_id, l.type_id, l.next_seq, l.granted_at, l.attempt, u.n, u.status, u.output, u.error
  FROM unnest($1::uuid[], $2::uuid[], $3::int4[], $4::int4[], $5::text[], $6::text[], $7::text[])
    AS u(action_id, lease_id, from_seq, n, status, output, error)
  JOIN action_leases l ON l.action_id = u.action_id AND l.lease_id = u.lease_id AND (u.from_seq IS NULL OR l.next_seq = u.from_seq)
  ORDER BY l.action_id FOR UPDATE OF l
), gone AS (
  DELETE FROM action_leases l USING held h WHERE l.action_id = h.action_id RETURNING h.*
), said AS (
  INSERT INTO action_events (action_id, seq, event, data)
  SELECT g.action_id, g.next_seq + e.off, e.event, e.data
  FROM unnest($8::uuid[], $9::int4[], $10::text[], $11::text[]) AS e(action_id, off, event, data)
  JOIN gone g ON g.action_id = e.action_id
), ended AS (
  INSERT INTO action_results (action_id, user_id, lease_id, status, output, error, attempt, started_at, last_seq)
  SELECT action_id, user_id, lease_id, status, output, error, attempt, granted_at, next_seq + n - 1 FROM gone
)
SELECT g.action_id, g.next_seq + g.n - 1 AS last_seq, t.name AS type, (extract(epoch FROM clock_timestamp() - g.granted_at) * 1000000)::int8 AS took_us,
       t.max_running IS NOT NULL OR t.max_running_per_user IS NOT NULL AS is_limited
FROM gone g JOIN action_types t ON t.id = g.type_id
