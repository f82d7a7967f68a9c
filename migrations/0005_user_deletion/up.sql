-- Users that were deleted a moment ago: what they have left behind is removed in small steps, by whoever comes first.

CREATE TABLE user_deletions (
  user_id    uuid        NOT NULL,
  deleted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  removing   uuid[]      NOT NULL DEFAULT '{}',             -- actions that are gone, but for their events
  CONSTRAINT user_deletions_pk PRIMARY KEY (user_id)
);

-- An action's idempotency key goes with it.
CREATE INDEX idempotency_keys_by_resource ON idempotency_keys (resource_id);
