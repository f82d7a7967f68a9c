-- How many actions of a key may wait. Only those are counted that were accepted under such a limit, so that without one
-- nothing is written here and the index is empty. A server that does not know limits leaves the column out: what it
-- accepts, grants or puts back is not counted.
ALTER TABLE action_queue ADD COLUMN counted_for uuid;      -- the key; NULL: no limit when it was accepted
ALTER TABLE action_leases ADD COLUMN counted_for uuid;     -- for when it goes back to the queue

CREATE INDEX action_queue_counted ON action_queue (counted_for) WHERE counted_for IS NOT NULL;
