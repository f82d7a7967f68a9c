ALTER TABLE idempotency_keys RESET (autovacuum_vacuum_scale_factor);
DROP TABLE housekeeping;
