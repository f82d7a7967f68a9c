-- Who may call, and for whom.

CREATE TABLE users (
  id            uuid        NOT NULL,
  email         text        NOT NULL,                       -- as typed
  email_key     text        NOT NULL,                       -- normalised; what is compared
  name          text        NOT NULL,
  external_id   text,
  status        text        NOT NULL,
  password_hash text        NOT NULL,                       -- PHC string
  created_at    timestamptz NOT NULL,
  updated_at    timestamptz NOT NULL,
  deleted_at    timestamptz,
  CONSTRAINT users_pk PRIMARY KEY (id),
  CONSTRAINT users_email_length CHECK (char_length(email) BETWEEN 1 AND 254),
  CONSTRAINT users_name_length CHECK (char_length(name) BETWEEN 1 AND 100),
  CONSTRAINT users_external_id_length CHECK (char_length(external_id) BETWEEN 1 AND 255),
  CONSTRAINT users_status_known CHECK (status IN ('active', 'disabled'))
);
-- A deleted user's address and external id can be registered again.
CREATE UNIQUE INDEX users_email_key ON users (email_key) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX users_external_id_key ON users (external_id) WHERE deleted_at IS NULL;

CREATE TABLE api_keys (
  id           uuid        NOT NULL,
  user_id      uuid        NOT NULL,
  name         text        NOT NULL,
  scopes       text[]      NOT NULL,
  created_at   timestamptz NOT NULL,
  expires_at   timestamptz,
  revoked_at   timestamptz,
  last_used_at timestamptz,
  CONSTRAINT api_keys_pk PRIMARY KEY (id),
  CONSTRAINT api_keys_user_fk FOREIGN KEY (user_id) REFERENCES users (id),
  CONSTRAINT api_keys_name_length CHECK (char_length(name) BETWEEN 1 AND 100),
  CONSTRAINT api_keys_scopes_not_empty CHECK (cardinality(scopes) > 0)
);
CREATE INDEX api_keys_by_user ON api_keys (user_id, id);

-- A key has one secret, or two while a rotation overlaps: the primary key is the guard.
CREATE TABLE api_key_secrets (
  api_key_id uuid        NOT NULL,
  slot       int2        NOT NULL,
  digest     bytea       NOT NULL,                          -- SHA-256
  created_at timestamptz NOT NULL,
  retires_at timestamptz,
  CONSTRAINT api_key_secrets_pk PRIMARY KEY (api_key_id, slot),
  CONSTRAINT api_key_secrets_key_fk FOREIGN KEY (api_key_id) REFERENCES api_keys (id) ON DELETE CASCADE,
  CONSTRAINT api_key_secrets_slot_known CHECK (slot IN (1, 2)),
  CONSTRAINT api_key_secrets_digest_length CHECK (octet_length(digest) = 32),
  CONSTRAINT api_key_secrets_digest_key UNIQUE (digest)
);

CREATE TABLE audit_events (
  id           uuid        NOT NULL,
  at           timestamptz NOT NULL DEFAULT clock_timestamp(),
  kind         text        NOT NULL,
  actor        text        NOT NULL,
  actor_key_id uuid,                                        -- the key, where a key did it
  subject_id   uuid,                                        -- the user acted for
  request_id   text,
  user_id      uuid        NOT NULL,                        -- whose account or key was changed
  api_key_id   uuid,                                        -- the key that was changed, where one was
  CONSTRAINT audit_events_pk PRIMARY KEY (id),
  CONSTRAINT audit_events_actor_known CHECK (actor IN ('anonymous', 'operator', 'root', 'key')),
  CONSTRAINT audit_events_actor_key CHECK ((actor = 'key') = (actor_key_id IS NOT NULL))
);

-- The scope is the SHA-256 of key, subject and path.
CREATE TABLE idempotency_keys (
  scope        bytea            NOT NULL,
  key          text COLLATE "C" NOT NULL,
  resource_id  uuid             NOT NULL,                   -- the user or action that was made
  action_ids   uuid[],                                      -- a batch's
  created_at   timestamptz      NOT NULL DEFAULT clock_timestamp(),
  request_hash bytea            NOT NULL,                   -- HMAC: a body may hold a password
  CONSTRAINT idempotency_keys_pk PRIMARY KEY (scope, key),
  CONSTRAINT idempotency_keys_scope_length CHECK (octet_length(scope) = 32)
);

-- What every replica must know and nobody else: made by the first that asks.
CREATE TABLE server_secrets (
  name       text        NOT NULL,
  secret     bytea       NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT server_secrets_pk PRIMARY KEY (name),
  CONSTRAINT server_secrets_length CHECK (octet_length(secret) >= 32)
);

-- Raised in the transaction of every change that may end the validity of a key or user: who has cached an
-- identity compares it.
CREATE TABLE identity_generation (
  is_only    bool NOT NULL DEFAULT true,
  generation int8 NOT NULL,
  CONSTRAINT identity_generation_pk PRIMARY KEY (is_only),
  CONSTRAINT identity_generation_one_row CHECK (is_only)
);
INSERT INTO identity_generation (generation) VALUES (1);
