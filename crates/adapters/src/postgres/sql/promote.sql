-- What is due becomes claimable, or is held by a limit of its type: $1 which actions, and what the rank of each is made of,
-- as where it is submitted: $2 its lane's head, or $3 from where to look for it, $4 the least rank that its user may have, and
-- $5 what is to be added. One that another has taken care of does not come back.
WITH input AS MATERIALIZED (
  SELECT * FROM unnest($1::uuid[], $2::int8[], $3::int8[], $4::int8[], $5::int8[]) AS u(action_id, head, look_from, after, ahead)
), due AS MATERIALIZED (
  SELECT i.*, q.type_id, q.priority
  FROM input i JOIN action_queue q ON q.action_id = i.action_id
  WHERE q.run_at <= statement_timestamp()
  FOR UPDATE OF q SKIP LOCKED
), clock AS MATERIALIZED (
  SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8 AS us
), heads AS MATERIALIZED (
  SELECT lane.type_id, lane.priority, least(
    (SELECT q.rank FROM action_queue q
     WHERE q.type_id = lane.type_id AND q.priority = lane.priority AND q.run_at IS NULL AND q.rank >= lane.look_from
     ORDER BY q.rank LIMIT 1),
    (SELECT q.rank FROM action_queue q
     WHERE q.type_id = lane.type_id AND q.priority = lane.priority AND q.run_at = '9999-12-31 00:00:00+00'::timestamptz
     ORDER BY q.rank LIMIT 1)) AS rank
  FROM (SELECT d.type_id, d.priority, least(min(d.look_from), clock.us) AS look_from
        FROM due d CROSS JOIN clock WHERE d.head IS NULL GROUP BY d.type_id, d.priority, clock.us) lane
)
UPDATE action_queue q
SET run_at = CASE WHEN t.max_running IS NOT NULL OR t.max_running_per_user IS NOT NULL THEN '9999-12-31 00:00:00+00'::timestamptz END,
    ready_at = clock_timestamp(),
    rank = least(CASE WHEN d.head IS NULL AND h.rank IS NULL THEN clock.us ELSE greatest(d.head, h.rank, d.after) END + d.ahead,
                 clock.us + 600000000)
FROM due d CROSS JOIN clock
JOIN action_types t ON t.id = d.type_id
LEFT JOIN heads h ON d.head IS NULL AND h.type_id = d.type_id AND h.priority = d.priority
WHERE q.action_id = d.action_id
RETURNING q.action_id, q.rank, h.rank AS seen, t.name AS type, t.max_running IS NOT NULL OR t.max_running_per_user IS NOT NULL AS is_limited
