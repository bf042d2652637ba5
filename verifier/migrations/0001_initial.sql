-- Holdfast Verifier, first schema. Times are seconds since the Unix epoch.
-- Digests are SHA-256. Nothing here is secret but by hash.

CREATE TABLE anchors (
  sha256      BLOB    NOT NULL PRIMARY KEY CHECK (length(sha256) = 32),
  der         BLOB    NOT NULL,
  subject     TEXT    NOT NULL,
  root        INTEGER NOT NULL CHECK (root IN (0, 1)),
  not_after   INTEGER NOT NULL,
  imported_at INTEGER NOT NULL
) STRICT;

-- A join token is known by the hash of its secret only.
CREATE TABLE join_tokens (
  secret_sha256 BLOB    NOT NULL PRIMARY KEY CHECK (length(secret_sha256) = 32),
  class         TEXT    NOT NULL,
  uses_left     INTEGER NOT NULL CHECK (uses_left >= 0),
  expires       INTEGER NOT NULL,
  created_at    INTEGER NOT NULL
) STRICT;

-- A boot log is kept once, whoever sent it.
CREATE TABLE boot_logs (
  sha256   BLOB    NOT NULL PRIMARY KEY CHECK (length(sha256) = 32),
  content  BLOB    NOT NULL,
  added_at INTEGER NOT NULL
) STRICT;

CREATE TABLE gateways (
  id               BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 33),
  class            TEXT    NOT NULL,
  state            TEXT    NOT NULL CHECK (state IN ('active', 'suspended', 'revoked')),
  state_kind       TEXT    CHECK (state_kind IN ('silence', 'evidence', 'operator')),
  state_reason     TEXT    NOT NULL DEFAULT '',
  ak_public        BLOB    NOT NULL,
  ak_name          BLOB    NOT NULL UNIQUE,
  ak_qualified_name BLOB   NOT NULL,
  ldevid_public    BLOB    NOT NULL,
  ldevid_name      BLOB    NOT NULL UNIQUE,
  ek_public        BLOB    NOT NULL,
  ek_spki_sha256   BLOB    NOT NULL UNIQUE CHECK (length(ek_spki_sha256) = 32),
  ek_chain_sha256  BLOB    NOT NULL CHECK (length(ek_chain_sha256) = 32),
  -- JSON object: what the EK certificate says of the TPM.
  tpm_facts        TEXT    NOT NULL,
  -- TPMS_CLOCK_INFO (TPM 2.0 Part 2 §10.11.1); clock is a u64 kept bit for bit.
  clock            INTEGER NOT NULL,
  reset_count      INTEGER NOT NULL,
  restart_count    INTEGER NOT NULL,
  clock_safe       INTEGER NOT NULL CHECK (clock_safe IN (0, 1)),
  -- TPMS_ATTEST.firmwareVersion, u64 kept bit for bit.
  firmware_version INTEGER NOT NULL,
  boot_log_sha256  BLOB    REFERENCES boot_logs (sha256),
  -- JSON array of {code, detail, next_step} of the last verdict.
  last_reasons     TEXT    NOT NULL DEFAULT '[]',
  enrolled_at      INTEGER NOT NULL,
  last_affirmed    INTEGER NOT NULL,
  CHECK ((state = 'active') = (state_kind IS NULL))
) STRICT;

CREATE TABLE certificates (
  sha256            BLOB    NOT NULL PRIMARY KEY CHECK (length(sha256) = 32),
  serial            TEXT    NOT NULL UNIQUE,
  gateway           BLOB    NOT NULL REFERENCES gateways (id),
  der               BLOB    NOT NULL,
  not_before        INTEGER NOT NULL,
  not_after         INTEGER NOT NULL,
  issued_at         INTEGER NOT NULL,
  revoked_at        INTEGER,
  revocation_reason TEXT,
  CHECK ((revoked_at IS NULL) = (revocation_reason IS NULL))
) STRICT;
CREATE INDEX certificates_by_gateway ON certificates (gateway, not_after);

-- What was answered, and which challenge it spent. A challenge is spent by its
-- first recorded answer, whatever that answer was; the same request again gets
-- the same bytes. A row may go once its challenge has expired by itself.
CREATE TABLE answers (
  request_sha256 BLOB    NOT NULL PRIMARY KEY CHECK (length(request_sha256) = 32),
  token_id       BLOB    NOT NULL UNIQUE CHECK (length(token_id) = 32),
  gateway        BLOB    NOT NULL,
  granted        INTEGER NOT NULL CHECK (granted IN (0, 1)),
  response       BLOB    NOT NULL,
  expires        INTEGER NOT NULL
) STRICT;
CREATE INDEX answers_by_expiry ON answers (expires);

CREATE TABLE reference_documents (
  sha256  BLOB NOT NULL PRIMARY KEY CHECK (length(sha256) = 32),
  content TEXT NOT NULL
) STRICT;
CREATE TABLE reference_values (
  class       TEXT    NOT NULL,
  version     INTEGER NOT NULL CHECK (version > 0),
  sha256      BLOB    NOT NULL REFERENCES reference_documents (sha256),
  imported_at INTEGER NOT NULL,
  PRIMARY KEY (class, version)
) STRICT;

CREATE TABLE audit (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  at      INTEGER NOT NULL,
  actor   TEXT    NOT NULL,
  action  TEXT    NOT NULL,
  subject TEXT    NOT NULL,
  detail  TEXT    NOT NULL
) STRICT;

-- One row, written again and again to see whether the disk still takes it.
CREATE TABLE probe (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  at INTEGER NOT NULL
) STRICT;
