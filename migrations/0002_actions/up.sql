-- What is performed. An action is always in exactly one of action_queue, action_leases and action_results.
-- actions, action_results and action_events are partitioned by the time in their UUIDv7; the server makes
-- the partitions ahead, so that retention can drop them whole.

-- The smallest UUIDv7 of a moment: the bound of a partition.
CREATE FUNCTION uuid_floor(t timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
$$ SELECT (lpad(to_hex((extract(epoch FROM t) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid $$;

CREATE TABLE action_types (
  id                 int4        GENERATED ALWAYS AS IDENTITY,
  name               text        NOT NULL,
  performed_by       text        NOT NULL,
  input_schema       text        COMPRESSION lz4,             -- JSON Schema; NULL takes any JSON
  max_attempts       int2        NOT NULL,
  attempt_timeout_ms int8        NOT NULL,
  lease_ms           int8        NOT NULL,
  retry_initial_ms   int8        NOT NULL,
  retry_factor       float8      NOT NULL,
  retry_max_ms       int8        NOT NULL,
  created_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT action_types_pk PRIMARY KEY (id),
  CONSTRAINT action_types_name_key UNIQUE (name),
  CONSTRAINT action_types_name_length CHECK (char_length(name) BETWEEN 1 AND 100),
  CONSTRAINT action_types_performed_by_known CHECK (performed_by IN ('handler', 'workers')),
  CONSTRAINT action_types_max_attempts_range CHECK (max_attempts BETWEEN 1 AND 100),
  CONSTRAINT action_types_attempt_timeout_range CHECK (attempt_timeout_ms BETWEEN 1 AND 86400000),
  CONSTRAINT action_types_lease_range CHECK (lease_ms BETWEEN 1000 AND 3600000),
  CONSTRAINT action_types_retry_initial_range CHECK (retry_initial_ms BETWEEN 0 AND 86400000),
  CONSTRAINT action_types_retry_factor_range CHECK (retry_factor BETWEEN 1 AND 10),
  CONSTRAINT action_types_retry_max_range CHECK (retry_max_ms BETWEEN 0 AND 86400000)
);

CREATE TABLE actions (                                      -- what was asked; never updated
  id           uuid        NOT NULL,
  user_id      uuid        NOT NULL,
  api_key_id   uuid,                                        -- NULL: the root key
  retry_of     uuid,
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  run_at       timestamptz,
  type_id      int4        NOT NULL,
  priority     int2        NOT NULL,
  max_attempts int2        NOT NULL,
  input        text        COMPRESSION lz4 NOT NULL,
  CONSTRAINT actions_pk PRIMARY KEY (id),
  CONSTRAINT actions_priority_range CHECK (priority BETWEEN 0 AND 9)
) PARTITION BY RANGE (id);
CREATE INDEX actions_by_user ON actions (user_id, id);

CREATE TABLE action_results (                               -- how it ended; insert-only
  action_id   uuid        NOT NULL,
  user_id     uuid        NOT NULL,
  lease_id    uuid,                                         -- who ended it: tells a repeated outcome from a lost lease
  started_at  timestamptz,
  finished_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  last_seq    int4        NOT NULL,
  attempt     int2        NOT NULL,
  status      text        NOT NULL,
  output      text        COMPRESSION lz4,
  error       text        COMPRESSION lz4,
  CONSTRAINT action_results_pk PRIMARY KEY (action_id),
  CONSTRAINT action_results_status_known CHECK (status IN ('succeeded', 'failed', 'cancelled'))
) PARTITION BY RANGE (action_id);
CREATE INDEX action_results_unhappy ON action_results (user_id, status, action_id) WHERE status <> 'succeeded';

CREATE TABLE action_queue (                                 -- only while claimable or scheduled
  action_id    uuid        NOT NULL,
  user_id      uuid        NOT NULL,
  rank         int8        NOT NULL,                        -- order within a lane: microseconds since 1970
  run_at       timestamptz,                                 -- NULL: claimable now
  type_id      int4        NOT NULL,
  next_seq     int4        NOT NULL,
  priority     int2        NOT NULL,
  attempt      int2        NOT NULL,
  max_attempts int2        NOT NULL,
  CONSTRAINT action_queue_pk PRIMARY KEY (action_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000);
CREATE INDEX action_queue_ready ON action_queue (type_id, priority, rank) WHERE run_at IS NULL;
CREATE INDEX action_queue_due   ON action_queue (run_at) WHERE run_at IS NOT NULL;

CREATE TABLE action_leases (                                -- only in flight; expires_at has no index, so a heartbeat is a HOT update
  action_id        uuid        NOT NULL,
  user_id          uuid        NOT NULL,
  lease_id         uuid        NOT NULL,                    -- the fencing token
  granted_at       timestamptz NOT NULL,
  expires_at       timestamptz NOT NULL,
  deadline_at      timestamptz NOT NULL,
  type_id          int4        NOT NULL,
  next_seq         int4        NOT NULL,
  attempt          int2        NOT NULL,
  max_attempts     int2        NOT NULL,
  priority         int2        NOT NULL,
  lease_for        interval    NOT NULL,                    -- what an extension adds
  cancel_requested bool        NOT NULL DEFAULT false,
  worker           text        NOT NULL,
  CONSTRAINT action_leases_pk PRIMARY KEY (action_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000);

CREATE TABLE action_events (                                -- append-only
  action_id uuid        NOT NULL,
  at        timestamptz NOT NULL DEFAULT clock_timestamp(),
  seq       int4        NOT NULL,
  event     text        NOT NULL,
  data      text        COMPRESSION lz4 NOT NULL,
  CONSTRAINT action_events_pk PRIMARY KEY (action_id, seq),
  CONSTRAINT action_events_seq_positive CHECK (seq > 0)
) PARTITION BY RANGE (action_id);

-- The present state of every action, from the one of three tables that holds it.
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
