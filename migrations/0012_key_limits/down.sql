-- What waits is counted no more.
ALTER TABLE action_leases DROP COLUMN counted_for;
ALTER TABLE action_queue DROP COLUMN counted_for;
