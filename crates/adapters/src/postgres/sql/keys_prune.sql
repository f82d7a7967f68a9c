-- $1 how long a key is kept at the least, $2 how many go at a time. What a key stands for tells its age by its id,
-- by a replica's clock; the row tells it by the database's.
WITH old AS MATERIALIZED (
  SELECT scope, key FROM idempotency_keys
  WHERE resource_id < uuid_floor(now() - $1::interval) AND created_at < now() - $1::interval
  ORDER BY resource_id LIMIT $2::int4 FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency_keys k USING old WHERE k.scope = old.scope AND k.key = old.key
