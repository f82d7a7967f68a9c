-- belongings
-- $1 user, $2 where counting ends.
SELECT (SELECT count(*) FROM api_keys WHERE user_id = $1::uuid) AS api_keys,
       (SELECT count(*) FROM (SELECT FROM actions WHERE user_id = $1::uuid LIMIT $2::int8) a) AS actions
