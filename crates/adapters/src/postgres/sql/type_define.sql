-- A type for workers, in place of what was defined before, or removed. A handler's type stays as it is: then nothing
-- comes back. One time stands for the whole statement: a type is new when it began with its last change.
INSERT INTO action_types AS t (name, performed_by, input_schema, max_attempts, attempt_timeout_ms, lease_ms,
                               retry_initial_ms, retry_factor, retry_max_ms, time_limit_ms,
                               max_running, max_running_per_user, max_running_per_replica, created_at, updated_at)
VALUES ($1::text, 'workers', $2::text, $3::int2, $4::int8, $5::int8, $6::int8, $7::float8, $8::int8, $9::int8,
        $10::int4, $11::int4, $12::int4,
        statement_timestamp(), statement_timestamp())
ON CONFLICT (name) DO UPDATE SET
  input_schema = excluded.input_schema, max_attempts = excluded.max_attempts,
  attempt_timeout_ms = excluded.attempt_timeout_ms, lease_ms = excluded.lease_ms,
  retry_initial_ms = excluded.retry_initial_ms, retry_factor = excluded.retry_factor, retry_max_ms = excluded.retry_max_ms,
  time_limit_ms = excluded.time_limit_ms,
  max_running = excluded.max_running, max_running_per_user = excluded.max_running_per_user,
  max_running_per_replica = excluded.max_running_per_replica,
  updated_at = statement_timestamp(), removed_at = NULL,
  created_at = CASE WHEN t.removed_at IS NULL THEN t.created_at ELSE statement_timestamp() END
WHERE t.performed_by = 'workers'
RETURNING t.created_at = t.updated_at AS is_new
