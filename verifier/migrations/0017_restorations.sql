-- Stores that were brought back from a backup after which things may have
-- happened. While one is not confirmed, nobody enrols and nobody recovers.
CREATE TABLE restorations (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  -- Id of the backup, lower-case hex.
  backup       TEXT    NOT NULL,
  restored_at  INTEGER NOT NULL,
  confirmed_at INTEGER,
  confirmed_by TEXT,
  CHECK ((confirmed_at IS NULL) = (confirmed_by IS NULL))
) STRICT;
