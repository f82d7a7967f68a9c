-- $1, $2: from the one moment to before the other. Whether an action that was made between them is not over.
SELECT EXISTS (SELECT FROM action_queue WHERE action_id >= uuid_floor($1::timestamptz) AND action_id < uuid_floor($2::timestamptz))
    OR EXISTS (SELECT FROM action_leases WHERE action_id >= uuid_floor($1::timestamptz) AND action_id < uuid_floor($2::timestamptz))
    AS is_unfinished
