-- How often the secrets of a class were changed. A secret's version is the
-- count at which it was put: numbers are given once, and only grow.
CREATE TABLE secret_classes (
  class TEXT    NOT NULL PRIMARY KEY,
  count INTEGER NOT NULL CHECK (count > 0)
) STRICT;

-- Every version of every secret, encrypted while it is in force and erased
-- afterwards (verifier/src/secrets).
CREATE TABLE secrets (
  class       TEXT    NOT NULL,
  name        TEXT    NOT NULL,
  version     INTEGER NOT NULL CHECK (version > 0),
  state       TEXT    NOT NULL CHECK (state IN ('current', 'superseded', 'revoked')),
  -- Bytes of the secret.
  size        INTEGER NOT NULL,
  -- Id of the key of kind 'secrets'; what it encrypts is the key of this row.
  key_id      TEXT,
  wrapped_key BLOB,
  ciphertext  BLOB,
  put_at      INTEGER NOT NULL,
  put_by      TEXT    NOT NULL,
  ended_at    INTEGER,
  ended_by    TEXT,
  reason      TEXT    NOT NULL DEFAULT '',
  PRIMARY KEY (class, name, version),
  CHECK ((state = 'current') = (key_id IS NOT NULL)),
  CHECK ((state = 'current') = (wrapped_key IS NOT NULL)),
  CHECK ((state = 'current') = (ciphertext IS NOT NULL)),
  CHECK ((state = 'current') = (ended_at IS NULL))
) STRICT;
-- One version of a name is in force at most.
CREATE UNIQUE INDEX secrets_current ON secrets (class, name) WHERE state = 'current';

-- Which gateway was sent which version.
CREATE TABLE secret_deliveries (
  class        TEXT    NOT NULL,
  name         TEXT    NOT NULL,
  version      INTEGER NOT NULL,
  gateway      BLOB    NOT NULL CHECK (length(gateway) = 33),
  delivered_at INTEGER NOT NULL,
  PRIMARY KEY (class, name, version, gateway),
  FOREIGN KEY (class, name, version) REFERENCES secrets (class, name, version)
) STRICT;
