-- The allow lists that the owner imported: the newest of a class is in force.
-- The statement (COSE_Sign1 by the owner's key, docs/owner-key.md) is verified
-- again whenever a list is loaded.
CREATE TABLE allow_list_documents (
  sha256  BLOB NOT NULL PRIMARY KEY CHECK (length(sha256) = 32),
  content BLOB NOT NULL
) STRICT;
CREATE TABLE allow_lists (
  class       TEXT    NOT NULL,
  version     INTEGER NOT NULL CHECK (version > 0),
  sha256      BLOB    NOT NULL REFERENCES allow_list_documents (sha256),
  statement   BLOB    NOT NULL,
  -- For people: pairs of a path and a digest, and ima-sig keys.
  entries     INTEGER NOT NULL CHECK (entries >= 0),
  keys        INTEGER NOT NULL CHECK (keys >= 0),
  imported_at INTEGER NOT NULL,
  imported_by TEXT    NOT NULL,
  PRIMARY KEY (class, version)
) STRICT;
