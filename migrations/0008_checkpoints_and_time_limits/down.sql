-- Actions go on without a limit, and their next attempts begin from the start.
ALTER TABLE action_leases DROP COLUMN give_up_at, DROP COLUMN checkpoint;
ALTER TABLE action_queue DROP COLUMN give_up_at, DROP COLUMN checkpoint;
ALTER TABLE action_types DROP COLUMN time_limit_ms;
