-- Events of many leases: $1-$5 per lease, at most one entry each; $6-$9 per event; $10 types they may be of. Fenced
-- by the lease, and told apart by from_seq: the same batch again is no news, and neither is its checkpoint. Each lease is
-- renewed by its own length. One that doesn't come back is lost.
WITH held AS MATERIALIZED (
  SELECT l.action_id, l.next_seq, u.from_seq, u.n, u.checkpoint
  FROM unnest($1::uuid[], $2::uuid[], $3::int4[], $4::int4[], $5::text[]) AS u(action_id, lease_id, from_seq, n, checkpoint)
  JOIN action_leases l ON l.action_id = u.action_id AND l.lease_id = u.lease_id
  WHERE $10::text[] IS NULL OR EXISTS (SELECT FROM action_types t WHERE t.id = l.type_id AND t.name LIKE ANY ($10::text[]))
  ORDER BY l.action_id FOR UPDATE OF l
), moved AS (
  UPDATE action_leases l
  SET next_seq = CASE WHEN h.next_seq = h.from_seq THEN h.next_seq + h.n ELSE h.next_seq END,
      checkpoint = CASE WHEN h.next_seq = h.from_seq THEN coalesce(h.checkpoint, l.checkpoint) ELSE l.checkpoint END,
      expires_at = clock_timestamp() + l.lease_for
  FROM held h WHERE l.action_id = h.action_id
  RETURNING l.action_id, h.from_seq, h.n, h.next_seq AS before, l.next_seq, l.cancel_requested
), written AS (
  INSERT INTO action_events (action_id, seq, event, data)
  SELECT m.action_id, m.from_seq + e.off, e.event, e.data
  FROM unnest($6::uuid[], $7::int4[], $8::text[], $9::text[]) AS e(action_id, off, event, data)
  JOIN moved m ON m.action_id = e.action_id AND m.before = m.from_seq
)
SELECT action_id, next_seq, cancel_requested,
       CASE WHEN before = from_seq THEN 'written' WHEN from_seq::int8 + n <= before THEN 'repeated' ELSE 'gap' END AS verdict
FROM moved
