-- What waits and what is leased, of every type: for metrics, a few times a minute at the most. Counts in the queue's
-- indexes, and reads all leases. What is held by a limit is ready, too. Ranks are not times: the action that has waited
-- longest is found among the first hundred of a lane, where each of so many users has the first one.
SELECT t.name AS type,
       coalesce(r.n, 0) + coalesce(h.n, 0) AS ready,
       coalesce(d.n, 0) AS scheduled,
       greatest((extract(epoch FROM clock_timestamp() - o.ready_at) * 1000000)::int8, 0) AS oldest_us,
       coalesce(l.n - l.expired, 0) AS held,
       coalesce(l.expired, 0) AS expired
FROM action_types t
LEFT JOIN (SELECT type_id, count(*) AS n FROM action_queue WHERE run_at IS NULL GROUP BY type_id) r ON r.type_id = t.id
LEFT JOIN (SELECT type_id, count(*) AS n FROM action_queue WHERE run_at = '9999-12-31 00:00:00+00'::timestamptz GROUP BY type_id) h
  ON h.type_id = t.id
LEFT JOIN (SELECT type_id, count(*) AS n FROM action_queue WHERE run_at < '9999-12-31 00:00:00+00'::timestamptz GROUP BY type_id) d
  ON d.type_id = t.id
LEFT JOIN LATERAL (
  SELECT min(first.ready_at) AS ready_at
  FROM generate_series(0, 9) AS lane(priority)
  CROSS JOIN LATERAL (
    (SELECT coalesce(q.ready_at, to_timestamp(q.rank / 1000000.0)) AS ready_at FROM action_queue q
     WHERE q.type_id = t.id AND q.priority = lane.priority AND q.run_at IS NULL ORDER BY q.rank LIMIT 100)
    UNION ALL
    (SELECT coalesce(q.ready_at, to_timestamp(q.rank / 1000000.0)) FROM action_queue q
     WHERE q.type_id = t.id AND q.priority = lane.priority AND q.run_at = '9999-12-31 00:00:00+00'::timestamptz
     ORDER BY q.rank LIMIT 100)) first
) o ON r.n > 0 OR h.n > 0
LEFT JOIN (SELECT type_id, count(*) AS n, count(*) FILTER (WHERE expires_at < clock_timestamp()) AS expired
           FROM action_leases GROUP BY type_id) l
  ON l.type_id = t.id
WHERE t.removed_at IS NULL
