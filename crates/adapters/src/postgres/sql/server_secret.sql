-- The first that asks makes it; everybody gets the same. $1 name, $2 what to make it.
WITH made AS (
  INSERT INTO server_secrets (name, secret) VALUES ($1::text, $2::bytea)
  ON CONFLICT (name) DO NOTHING
  RETURNING secret
)
SELECT secret FROM made UNION ALL SELECT secret FROM server_secrets WHERE name = $1::text
