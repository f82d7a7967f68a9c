-- A statement of its own: the one that met the conflict can't see what it met.
SELECT k.resource_id, k.action_ids, k.request_hash
FROM idempotency_keys k
WHERE k.scope = $1::bytea AND k.key = $2::text
