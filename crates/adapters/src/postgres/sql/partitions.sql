SELECT c.relname::text AS name
FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent IN ('actions'::regclass, 'action_results'::regclass, 'action_events'::regclass)
