-- What waits and what is leased, of every type: for metrics, a few times a minute at the most. Reads the queue's two
-- indexes, and all leases.
SELECT t.name AS type,
       coalesce(r.n, 0) AS ready,
       coalesce(d.n, 0) AS scheduled,
       greatest((extract(epoch FROM clock_timestamp()) * 1000000)::int8 - r.first_rank, 0) AS oldest_us,
       coalesce(l.n - l.expired, 0) AS held,
       coalesce(l.expired, 0) AS expired
FROM action_types t
LEFT JOIN (SELECT type_id, count(*) AS n, min(rank) AS first_rank FROM action_queue WHERE run_at IS NULL GROUP BY type_id) r
  ON r.type_id = t.id
LEFT JOIN (SELECT type_id, count(*) AS n FROM action_queue WHERE run_at IS NOT NULL GROUP BY type_id) d ON d.type_id = t.id
LEFT JOIN (SELECT type_id, count(*) AS n, count(*) FILTER (WHERE expires_at < clock_timestamp()) AS expired
           FROM action_leases GROUP BY type_id) l
  ON l.type_id = t.id
WHERE t.removed_at IS NULL
