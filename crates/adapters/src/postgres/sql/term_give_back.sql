-- $1 who, if it holds the term.
UPDATE housekeeping SET term_ends_at = '-infinity' WHERE holder = $1::uuid AND term_ends_at > clock_timestamp()
