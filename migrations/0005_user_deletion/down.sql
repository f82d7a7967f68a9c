-- What deleted users have left behind, and was not removed yet, stays for ever.
DROP INDEX idempotency_keys_by_resource;
DROP TABLE user_deletions;
