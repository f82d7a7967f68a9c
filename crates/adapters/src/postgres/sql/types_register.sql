-- In order of the names: two replicas that start together must not deadlock.
INSERT INTO action_types (name, performed_by, input_schema, max_attempts, attempt_timeout_ms, lease_ms,
                          retry_initial_ms, retry_factor, retry_max_ms, time_limit_ms,
                          max_running, max_running_per_user, max_running_per_replica)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int2[], $5::int8[], $6::int8[], $7::int8[], $8::float8[], $9::int8[], $10::int8[],
                     $11::int4[], $12::int4[], $13::int4[])
  AS u(name, performed_by, input_schema, max_attempts, attempt_timeout_ms, lease_ms, retry_initial_ms, retry_factor, retry_max_ms, time_limit_ms,
       max_running, max_running_per_user, max_running_per_replica)
ORDER BY u.name COLLATE "C"
ON CONFLICT (name) DO UPDATE SET
  performed_by = excluded.performed_by, input_schema = excluded.input_schema, max_attempts = excluded.max_attempts,
  attempt_timeout_ms = excluded.attempt_timeout_ms, lease_ms = excluded.lease_ms,
  retry_initial_ms = excluded.retry_initial_ms, retry_factor = excluded.retry_factor, retry_max_ms = excluded.retry_max_ms,
  time_limit_ms = excluded.time_limit_ms,
  max_running = excluded.max_running, max_running_per_user = excluded.max_running_per_user,
  max_running_per_replica = excluded.max_running_per_replica,
  updated_at = clock_timestamp(), removed_at = NULL
WHERE action_types.removed_at IS NOT NULL OR (action_types.performed_by, action_types.input_schema, action_types.max_attempts, action_types.attempt_timeout_ms,
       action_types.lease_ms, action_types.retry_initial_ms, action_types.retry_factor, action_types.retry_max_ms, action_types.time_limit_ms,
       action_types.max_running, action_types.max_running_per_user, action_types.max_running_per_replica)
  IS DISTINCT FROM
      (excluded.performed_by, excluded.input_schema, excluded.max_attempts, excluded.attempt_timeout_ms,
       excluded.lease_ms, excluded.retry_initial_ms, excluded.retry_factor, excluded.retry_max_ms, excluded.time_limit_ms,
       excluded.max_running, excluded.max_running_per_user, excluded.max_running_per_replica)
