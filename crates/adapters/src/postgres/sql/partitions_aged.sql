-- Every partition, and now by the clock that decides what is old.
SELECT c.relname::text AS name, now() AS now
FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent IN ('actions'::regclass, 'action_results'::regclass, 'action_events'::regclass)
ORDER BY c.relname
