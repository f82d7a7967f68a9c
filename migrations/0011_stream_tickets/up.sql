-- Tickets for one stream each, which a page sends where it can't send a key: good for a minute, and once. Unlogged:
-- a crash empties the table, and whoever lost a ticket asks for another one.
CREATE UNLOGGED TABLE stream_tickets (
  digest            bytea       NOT NULL,                   -- SHA-256
  action_id         uuid        NOT NULL,                   -- whose events it shows
  user_id           uuid        NOT NULL,                   -- whose action that is
  api_key_id        uuid,                                   -- which key asked for it; NULL: the root key
  subject_id        uuid,                                   -- for whom that key acted; NULL: for nobody
  caller_expires_at timestamptz,                            -- until when that key is taken, as far as that was known
  expires_at        timestamptz NOT NULL,
  CONSTRAINT stream_tickets_pk PRIMARY KEY (digest),
  CONSTRAINT stream_tickets_digest_length CHECK (octet_length(digest) = 32)
);
CREATE INDEX stream_tickets_by_user ON stream_tickets (user_id, expires_at);
