-- What each gateway on record quoted last, also where it was refused for it:
-- what a golden capture takes, and what the owner approves.
CREATE TABLE last_quotes (
  gateway         BLOB    NOT NULL PRIMARY KEY REFERENCES gateways (id),
  -- The class that it was appraised as.
  class           TEXT    NOT NULL,
  -- JSON in one form: {"bank":"sha256","pcrs":{"0":"<hex>"}}, and its SHA-256.
  quoted          TEXT    NOT NULL,
  sha256          BLOB    NOT NULL CHECK (length(sha256) = 32),
  boot_log_sha256 BLOB    REFERENCES boot_logs (sha256),
  -- JSON array of lines: how it differed, as told at the time.
  drift           TEXT    NOT NULL DEFAULT '[]',
  at              INTEGER NOT NULL,
  affirming       INTEGER NOT NULL CHECK (affirming IN (0, 1))
) STRICT;
CREATE INDEX last_quotes_by_boot_log ON last_quotes (boot_log_sha256);

-- The owner's statement on each version. Versions from before this have none,
-- and are not used: import them again.
ALTER TABLE reference_values ADD COLUMN statement BLOB;
ALTER TABLE reference_values ADD COLUMN imported_by TEXT NOT NULL DEFAULT '';
-- Where the values were captured, if they were, and the boot log of that boot.
ALTER TABLE reference_values ADD COLUMN golden_gateway BLOB;
ALTER TABLE reference_values ADD COLUMN golden_boot_log BLOB REFERENCES boot_logs (sha256);
CREATE INDEX reference_values_by_boot_log ON reference_values (golden_boot_log);
