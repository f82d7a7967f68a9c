ALTER TABLE actions DROP COLUMN traceparent;
