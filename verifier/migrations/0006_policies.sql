-- The appraisal policies that the owner applied: the newest is in force. The
-- statement (COSE_Sign1 by the owner's key, docs/owner-key.md) is verified
-- again whenever a policy is loaded.
CREATE TABLE policies (
  version    INTEGER NOT NULL PRIMARY KEY CHECK (version > 0),
  sha256     BLOB    NOT NULL CHECK (length(sha256) = 32),
  source     TEXT    NOT NULL,
  statement  BLOB    NOT NULL,
  applied_at INTEGER NOT NULL,
  applied_by TEXT    NOT NULL
) STRICT;
