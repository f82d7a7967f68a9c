-- What a performer leaves for the next attempt, and until when an action may take altogether. A server that knows
-- neither leaves both out: its actions have no limit, and an attempt after one of its own begins without a checkpoint.
ALTER TABLE action_types
  ADD COLUMN time_limit_ms int8,                            -- NULL: none
  ADD CONSTRAINT action_types_time_limit_range CHECK (time_limit_ms BETWEEN 1 AND 2592000000);

ALTER TABLE action_queue
  ADD COLUMN give_up_at timestamptz,                        -- NULL: never
  ADD COLUMN checkpoint text COMPRESSION lz4,
  ADD CONSTRAINT action_queue_checkpoint_length CHECK (octet_length(checkpoint) <= 65536);
CREATE INDEX action_queue_give_up ON action_queue (give_up_at) WHERE give_up_at IS NOT NULL;

ALTER TABLE action_leases                                   -- no index: a checkpoint, too, is a HOT update
  ADD COLUMN give_up_at timestamptz,
  ADD COLUMN checkpoint text COMPRESSION lz4,
  ADD CONSTRAINT action_leases_checkpoint_length CHECK (octet_length(checkpoint) <= 65536);
