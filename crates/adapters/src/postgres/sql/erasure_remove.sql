-- erasure_remove
-- $1 user, $2 actions: those that are neither waiting nor performed go, and can't be found any more. Their logs are
-- noted as still to be removed, so nothing else is while they are.
WITH turn AS MATERIALIZED (
  SELECT user_id FROM user_deletions WHERE user_id = $1::uuid AND removing = '{}' FOR UPDATE
), idle AS MATERIALIZED (
  SELECT a.id FROM turn JOIN actions a ON a.user_id = turn.user_id
  WHERE a.id = ANY($2::uuid[])
    AND NOT EXISTS (SELECT FROM action_queue q WHERE q.action_id = a.id)
    AND NOT EXISTS (SELECT FROM action_leases l WHERE l.action_id = a.id)
), keyless AS (
  DELETE FROM idempotency_keys k USING idle WHERE k.resource_id = idle.id
), resultless AS (
  DELETE FROM action_results r USING idle WHERE r.action_id = idle.id
), gone AS (
  DELETE FROM actions a USING idle WHERE a.id = idle.id RETURNING a.id
), noted AS (
  UPDATE user_deletions d SET removing = ARRAY(SELECT id FROM idle)
  FROM turn WHERE d.user_id = turn.user_id AND EXISTS (SELECT FROM idle)
)
SELECT count(*) AS count FROM gone
