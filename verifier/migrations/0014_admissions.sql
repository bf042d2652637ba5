-- Devices that the owner admits by name: no token needed, and as often as they
-- come, while they are in good standing.
CREATE TABLE admitted_devices (
  number   INTEGER PRIMARY KEY AUTOINCREMENT,
  -- 'ek-sha256': SHA-256 of the EK's SubjectPublicKeyInfo, lower-case hex.
  -- 'idevid-serial': serialNumber of the IDevID's subject.
  kind     TEXT    NOT NULL CHECK (kind IN ('ek-sha256', 'idevid-serial')),
  value    TEXT    NOT NULL,
  class    TEXT    NOT NULL,
  note     TEXT    NOT NULL,
  added_at INTEGER NOT NULL,
  added_by TEXT    NOT NULL,
  UNIQUE (kind, value)
) STRICT;

-- Gateways that proved their TPM and wait for a person. Nothing here is a
-- grant. A row that waits goes at its end; one that was denied stays.
CREATE TABLE pending_gateways (
  number     INTEGER PRIMARY KEY AUTOINCREMENT,
  id         BLOB    NOT NULL UNIQUE CHECK (length(id) = 33),
  state      TEXT    NOT NULL CHECK (state IN ('waiting', 'denied')),
  class      TEXT    NOT NULL,
  -- What the EK certificate says of the TPM, for people.
  tpm        TEXT    NOT NULL,
  -- Where it called from last: an IPv4 address or an IPv6 /64.
  address    TEXT    NOT NULL,
  first_seen INTEGER NOT NULL,
  last_seen  INTEGER NOT NULL,
  expires    INTEGER NOT NULL,
  reason     TEXT    NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX pending_by_address ON pending_gateways (address);

-- Broken gateways and those that took their place.
CREATE TABLE replacements (
  old         BLOB    NOT NULL PRIMARY KEY REFERENCES gateways (id),
  new         BLOB    NOT NULL UNIQUE CHECK (length(new) = 33),
  replaced_at INTEGER NOT NULL,
  replaced_by TEXT    NOT NULL,
  reason      TEXT    NOT NULL
) STRICT;
