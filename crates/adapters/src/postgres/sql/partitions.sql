-- Every partition with the ids that it holds, and now by the clock that decides what is old. One that holds what has no
-- bounds, made by hand, has none here.
SELECT p.relname::text AS parent, c.relname::text AS name, now() AS now,
       substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(''([0-9a-f-]{36})''\)')::uuid AS from_id,
       substring(pg_get_expr(c.relpartbound, c.oid) FROM ' TO \(''([0-9a-f-]{36})''\)')::uuid AS to_id
FROM pg_inherits i
JOIN pg_class p ON p.oid = i.inhparent
JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent IN ('actions'::regclass, 'action_results'::regclass, 'action_events'::regclass)
ORDER BY c.relname
