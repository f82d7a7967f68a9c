DROP TABLE identity_generation;
DROP TABLE server_secrets;
DROP TABLE idempotency_keys;
DROP TABLE audit_events;
DROP TABLE api_key_secrets;
DROP TABLE api_keys;
DROP TABLE users;
