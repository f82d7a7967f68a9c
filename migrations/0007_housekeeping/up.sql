-- Who looks after the database: one server at a time, for a term by this database's clock.
CREATE TABLE housekeeping (
  is_only      bool        NOT NULL DEFAULT true,
  holder       uuid,                                        -- chosen anew by each server that starts
  term_ends_at timestamptz NOT NULL DEFAULT '-infinity',
  CONSTRAINT housekeeping_pk PRIMARY KEY (is_only),
  CONSTRAINT housekeeping_one_row CHECK (is_only)
);
INSERT INTO housekeeping DEFAULT VALUES;

-- Each row lives for a day: a fifth of the table, as by default, would be too much to be dead at a time.
ALTER TABLE idempotency_keys SET (autovacuum_vacuum_scale_factor = 0.02);
