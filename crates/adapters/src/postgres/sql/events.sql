-- $1 action, $2 owner or everybody's, $3 types it may be of, $4 position, $5 most entries, $6 most bytes: the
-- first entry comes whatever its size. One snapshot: the entries, where the log ends, and whether it is over.
WITH log AS MATERIALIZED (
  SELECT s.last_seq, s.status IN ('succeeded', 'failed', 'cancelled') AS is_over
  FROM action_states s JOIN action_types t ON t.id = s.type_id
  WHERE s.id = $1::uuid AND ($2::uuid IS NULL OR s.user_id = $2::uuid) AND ($3::text[] IS NULL OR t.name LIKE ANY ($3::text[]))
)
SELECT log.last_seq, log.is_over, e.seq, e.event, e.at, e.data
FROM log LEFT JOIN LATERAL (
  SELECT * FROM (
    SELECT raw.*, sum(octet_length(data)) OVER (ORDER BY seq) - octet_length(data) AS before
    FROM (SELECT seq, event, at, data FROM action_events
          WHERE action_id = $1::uuid AND seq > $4::int4 ORDER BY seq LIMIT $5::int4) raw) sized
  WHERE before < $6::int8
) e ON true
ORDER BY e.seq
