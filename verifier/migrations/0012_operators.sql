-- Operators' certificates: one that is not here has no role, whoever signed it.
CREATE TABLE operators (
  id                INTEGER PRIMARY KEY AUTOINCREMENT,
  sha256            BLOB    NOT NULL UNIQUE CHECK (length(sha256) = 32),
  -- Lower-case hex, as the certificate has it.
  serial            TEXT    NOT NULL UNIQUE,
  name              TEXT    NOT NULL,
  role              TEXT    NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
  not_before        INTEGER NOT NULL,
  not_after         INTEGER NOT NULL,
  added_at          INTEGER NOT NULL,
  added_by          TEXT    NOT NULL,
  revoked_at        INTEGER,
  revocation_reason TEXT,
  CHECK ((revoked_at IS NULL) = (revocation_reason IS NULL))
) STRICT;

-- Hash chain over the audit log: SHA-256 over the hash before and this row
-- (store::audit_hash). Rows from before this have none.
ALTER TABLE audit ADD COLUMN hash BLOB CHECK (hash IS NULL OR length(hash) = 32);
