-- How many actions of a type are performed at a time, and how long each has waited. A waiting action of a type with a
-- limit is held: its run_at lies at the end of time, so that no claim takes it, nor one of a server that does not know
-- limits. admit_actions lets it in. What such an older server queues itself is claimable at once, until the next look
-- of a newer one: limits hold strictly once all servers know them.
ALTER TABLE action_types
  ADD COLUMN max_running int4,                              -- NULL: no limit
  ADD COLUMN max_running_per_user int4,
  ADD COLUMN max_running_per_replica int4,                  -- kept by each server's runner
  ADD CONSTRAINT action_types_max_running_range CHECK (max_running BETWEEN 1 AND 10000),
  ADD CONSTRAINT action_types_max_running_per_user_range CHECK (max_running_per_user BETWEEN 1 AND 10000),
  ADD CONSTRAINT action_types_max_running_per_replica_range CHECK (max_running_per_replica BETWEEN 1 AND 10000);

-- Since when an action could be claimed, limits aside. A rank is an order, and no time to measure from.
ALTER TABLE action_queue ADD COLUMN ready_at timestamptz;  -- NULL: queued before there was this column
ALTER TABLE action_queue ALTER COLUMN ready_at SET DEFAULT clock_timestamp();

-- Empty unless a type has limits.
CREATE INDEX action_queue_held ON action_queue (type_id, priority, rank)
  WHERE run_at = '9999-12-31 00:00:00+00'::timestamptz;
CREATE INDEX action_queue_held_by_user ON action_queue (type_id, user_id, priority, rank)
  WHERE run_at = '9999-12-31 00:00:00+00'::timestamptz;

-- Makes the claimable actions of a type and those in flight as many as its limits allow: the first in line of the held
-- ones become claimable, or, under a limit that was lowered, the last of the claimable ones are held. Moves some `most`
-- at a time; answers how many became claimable, and whether there may be more to move.
--
-- Under the lock of the type's row, one at a time. What is counted is seen by a statement that begins after the lock is
-- had: in one statement with it, the count would be of a time before, and let in what another has let in already.
CREATE FUNCTION admit_actions(wanted text, most int4, OUT admitted int4, OUT is_more bool) LANGUAGE plpgsql AS
$$
DECLARE
  of_type   int4;
  total     int8;
  per_user  int8;
  claimable int8;
  held_back int4;
BEGIN
  SELECT t.id, t.max_running, t.max_running_per_user INTO of_type, total, per_user
    FROM action_types t WHERE t.name = wanted FOR NO KEY UPDATE;
  admitted := 0;
  held_back := 0;

  IF total IS NOT NULL OR per_user IS NOT NULL THEN
    SELECT count(*) INTO claimable
      FROM (SELECT FROM action_queue q WHERE q.type_id = of_type AND q.run_at IS NULL LIMIT 20001) AS look;
    IF claimable > 20000 THEN
      -- A limit that is new to many that wait: who may stay is not asked before most of them are held.
      UPDATE action_queue SET run_at = '9999-12-31 00:00:00+00'::timestamptz
      WHERE action_id = ANY(ARRAY(
        SELECT q.action_id FROM action_queue q WHERE q.type_id = of_type AND q.run_at IS NULL
        ORDER BY q.priority, q.rank LIMIT most FOR UPDATE SKIP LOCKED));
      is_more := true;
      RETURN;
    END IF;
    WITH running AS MATERIALIZED (
      SELECT l.user_id, count(*) AS n FROM action_leases l WHERE l.type_id = of_type GROUP BY l.user_id
    ), waiting AS (
      SELECT q.action_id, q.priority, q.rank,
             row_number() OVER (PARTITION BY q.user_id ORDER BY q.priority, q.rank) + coalesce(r.n, 0) AS of_user
      FROM action_queue q LEFT JOIN running r ON r.user_id = q.user_id
      WHERE q.type_id = of_type AND q.run_at IS NULL
    ), counted AS (
      SELECT w.action_id, w.of_user,
             count(*) FILTER (WHERE per_user IS NULL OR w.of_user <= per_user) OVER (ORDER BY w.priority, w.rank, w.action_id)
               + (SELECT coalesce(sum(n), 0) FROM running) AS of_all
      FROM waiting w
    ), leaving AS (
      SELECT action_id FROM counted WHERE of_user > per_user OR of_all > total LIMIT most
    )
    UPDATE action_queue SET run_at = '9999-12-31 00:00:00+00'::timestamptz
    WHERE action_id = ANY(ARRAY(
      SELECT q.action_id FROM action_queue q
      WHERE q.action_id = ANY(ARRAY(SELECT action_id FROM leaving)) FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS held_back = ROW_COUNT;
  END IF;

  IF per_user IS NULL THEN
    WITH taken AS (
      SELECT (SELECT count(*) FROM action_leases l WHERE l.type_id = of_type)
           + (SELECT count(*) FROM action_queue q WHERE q.type_id = of_type AND q.run_at IS NULL) AS n
      WHERE total IS NOT NULL
    )
    UPDATE action_queue SET run_at = NULL
    WHERE action_id = ANY(ARRAY(
      SELECT q.action_id FROM action_queue q
      WHERE q.type_id = of_type AND q.run_at = '9999-12-31 00:00:00+00'::timestamptz
      ORDER BY q.priority, q.rank
      LIMIT CASE WHEN total IS NULL THEN most ELSE least(most, greatest(total - (SELECT n FROM taken), 0)) END FOR UPDATE SKIP LOCKED));
  ELSE
    -- User by user, each as many as the user's limit leaves room for: what one has piled up is not read.
    WITH RECURSIVE taken AS MATERIALIZED (
      SELECT u.user_id, count(*) AS n
      FROM (SELECT l.user_id FROM action_leases l WHERE l.type_id = of_type
            UNION ALL SELECT q.user_id FROM action_queue q WHERE q.type_id = of_type AND q.run_at IS NULL) u
      GROUP BY u.user_id
    ), users AS (
      (SELECT q.user_id FROM action_queue q
       WHERE q.type_id = of_type AND q.run_at = '9999-12-31 00:00:00+00'::timestamptz
       ORDER BY q.user_id LIMIT 1)
      UNION ALL
      SELECT (SELECT q.user_id FROM action_queue q
              WHERE q.type_id = of_type AND q.run_at = '9999-12-31 00:00:00+00'::timestamptz AND q.user_id > u.user_id
              ORDER BY q.user_id LIMIT 1)
      FROM users u WHERE u.user_id IS NOT NULL
    ), next AS (
      SELECT c.action_id
      FROM users u LEFT JOIN taken t ON t.user_id = u.user_id
      CROSS JOIN LATERAL (
        SELECT q.action_id, q.priority, q.rank FROM action_queue q
        WHERE q.type_id = of_type AND q.user_id = u.user_id AND q.run_at = '9999-12-31 00:00:00+00'::timestamptz
        ORDER BY q.priority, q.rank LIMIT greatest(per_user - coalesce(t.n, 0), 0)) c
      WHERE u.user_id IS NOT NULL
      ORDER BY c.priority, c.rank
      LIMIT CASE WHEN total IS NULL THEN most ELSE least(most, greatest(total - (SELECT coalesce(sum(n), 0) FROM taken), 0)) END
    )
    UPDATE action_queue SET run_at = NULL
    WHERE action_id = ANY(ARRAY(
      SELECT q.action_id FROM action_queue q
      WHERE q.action_id = ANY(ARRAY(SELECT action_id FROM next))
        AND q.run_at = '9999-12-31 00:00:00+00'::timestamptz FOR UPDATE SKIP LOCKED));
  END IF;
  GET DIAGNOSTICS admitted = ROW_COUNT;
  is_more := greatest(admitted, held_back) >= most;
END
$$;

-- The same columns; what is held is queued. Last: it locks out those who read the view, until this commits.
CREATE OR REPLACE VIEW action_states AS
SELECT a.id, a.user_id, a.api_key_id, a.retry_of, a.created_at, a.type_id, a.priority, a.max_attempts, a.input,
       coalesce(nullif(q.run_at, '9999-12-31 00:00:00+00'::timestamptz), a.run_at) AS run_at,
       CASE WHEN r.action_id IS NOT NULL THEN r.status
            WHEN l.action_id IS NOT NULL THEN 'running'
            WHEN q.run_at < '9999-12-31 00:00:00+00'::timestamptz THEN 'scheduled'
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
