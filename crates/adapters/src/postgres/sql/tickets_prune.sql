-- $1 how many go at a time.
WITH old AS MATERIALIZED (
  SELECT digest FROM stream_tickets WHERE expires_at <= clock_timestamp() LIMIT $1::int4 FOR UPDATE SKIP LOCKED
)
DELETE FROM stream_tickets s USING old WHERE s.digest = old.digest
