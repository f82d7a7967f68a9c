-- When keys were last used, in order of their ids.
WITH used AS MATERIALIZED (
  SELECT k.id, u.at FROM unnest($1::uuid[], $2::timestamptz[]) AS u(id, at) JOIN api_keys k ON k.id = u.id
  ORDER BY k.id FOR NO KEY UPDATE OF k
)
UPDATE api_keys k SET last_used_at = used.at FROM used
WHERE k.id = used.id AND (k.last_used_at IS NULL OR k.last_used_at < used.at)
