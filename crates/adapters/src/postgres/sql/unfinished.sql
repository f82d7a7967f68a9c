-- $1, $2: from the one id to before the other. Whether an action between them is not over.
SELECT EXISTS (SELECT FROM action_queue WHERE action_id >= $1::uuid AND action_id < $2::uuid)
    OR EXISTS (SELECT FROM action_leases WHERE action_id >= $1::uuid AND action_id < $2::uuid)
    AS is_unfinished
