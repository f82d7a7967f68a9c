-- $1 digest, $2 action, $3 owner or everybody's, $4 types it may be of, $5 key that asks, $6 subject, $7 until when
-- that key is taken, $8 how long the ticket is good, $9 most at a time for the actions of one user. No row: no such
-- action; no time: too many.
WITH wanted AS MATERIALIZED (
  SELECT a.id, a.user_id FROM actions a JOIN action_types t ON t.id = a.type_id
  WHERE a.id = $2::uuid AND ($3::uuid IS NULL OR a.user_id = $3::uuid) AND ($4::text[] IS NULL OR t.name LIKE ANY ($4::text[]))
), kept AS (
  INSERT INTO stream_tickets (digest, action_id, user_id, api_key_id, subject_id, caller_expires_at, expires_at)
  SELECT $1::bytea, w.id, w.user_id, $5::uuid, $6::uuid, $7::timestamptz,
         least(clock_timestamp() + $8::interval, $7::timestamptz)
  FROM wanted w
  WHERE (SELECT count(*) FROM (SELECT FROM stream_tickets s
                               WHERE s.user_id = w.user_id AND s.expires_at > clock_timestamp() LIMIT $9::int4) live) < $9::int4
  RETURNING expires_at
)
SELECT (SELECT expires_at FROM kept) AS expires_at FROM wanted
