-- Endorsement bundles that the owner signed: the newest is in force. The
-- statement (COSE_Sign1 by the owner's key, docs/owner-key.md) is verified again
-- whenever a bundle is loaded.
CREATE TABLE endorsement_bundles (
  version    INTEGER NOT NULL PRIMARY KEY CHECK (version > 0),
  sha256     BLOB    NOT NULL CHECK (length(sha256) = 32),
  document   TEXT    NOT NULL,
  statement  BLOB    NOT NULL,
  applied_at INTEGER NOT NULL,
  applied_by TEXT    NOT NULL
) STRICT;

-- CRLs of EK CAs, imported from files: one for each CA (its Name and key), the
-- newest.
CREATE TABLE endorsement_crls (
  issuer_sha256 BLOB    NOT NULL CHECK (length(issuer_sha256) = 32),
  key_sha256    BLOB    NOT NULL CHECK (length(key_sha256) = 32),
  sha256        BLOB    NOT NULL CHECK (length(sha256) = 32),
  der           BLOB    NOT NULL,
  issuer        TEXT    NOT NULL,
  this_update   INTEGER NOT NULL,
  next_update   INTEGER NOT NULL,
  imported_at   INTEGER NOT NULL,
  PRIMARY KEY (issuer_sha256, key_sha256)
) STRICT;
