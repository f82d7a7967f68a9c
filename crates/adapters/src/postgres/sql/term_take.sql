-- $1 who, $2 for how long. One row: who asks holds the term, anew or still. None: somebody else does.
UPDATE housekeeping SET holder = $1::uuid, term_ends_at = clock_timestamp() + $2::interval
WHERE holder = $1::uuid OR term_ends_at < clock_timestamp()
