-- erasure_events
-- $1 user, $2 the actions that were seen to be gone but for their events, $3 most events, $4 most bytes: the first event
-- goes whatever its size. The statement began after those actions had gone, and so sees all that was ever written.
WITH turn AS MATERIALIZED (
  SELECT user_id FROM user_deletions WHERE user_id = $1::uuid AND removing = $2::uuid[] FOR UPDATE
), looked AS MATERIALIZED (
  SELECT e.action_id, e.seq, sum(pg_column_size(e.data)) OVER (ORDER BY e.action_id, e.seq) - pg_column_size(e.data) AS before
  FROM (SELECT action_id, seq, data FROM action_events
        WHERE action_id = ANY($2::uuid[]) ORDER BY action_id, seq LIMIT $3::int4) e
), picked AS MATERIALIZED (
  SELECT action_id, seq FROM looked WHERE before < $4::int8 AND EXISTS (SELECT FROM turn)
), gone AS (
  DELETE FROM action_events e USING picked p WHERE e.action_id = p.action_id AND e.seq = p.seq
)
UPDATE user_deletions d SET removing = '{}'
FROM turn
WHERE d.user_id = turn.user_id
  AND (SELECT count(*) FROM looked) < $3::int4
  AND (SELECT count(*) FROM looked) = (SELECT count(*) FROM picked)
