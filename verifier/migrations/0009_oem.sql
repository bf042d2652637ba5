-- The IAK road: OEMs that are trusted, products that are admitted by their
-- serial number, and which IDevID stands behind a gateway.

-- Kept apart from `anchors`: an OEM endorses no EK, a TPM vendor no IAK.
CREATE TABLE oem_anchors (
  oem         TEXT    NOT NULL,
  sha256      BLOB    NOT NULL CHECK (length(sha256) = 32),
  der         BLOB    NOT NULL,
  subject     TEXT    NOT NULL,
  root        INTEGER NOT NULL CHECK (root IN (0, 1)),
  not_after   INTEGER NOT NULL,
  imported_at INTEGER NOT NULL,
  PRIMARY KEY (oem, sha256)
) STRICT;

CREATE TABLE oem_serials (
  oem      TEXT    NOT NULL,
  serial   TEXT    NOT NULL,
  class    TEXT    NOT NULL,
  added_at INTEGER NOT NULL,
  PRIMARY KEY (oem, serial)
) STRICT;
CREATE INDEX oem_serials_by_serial ON oem_serials (serial);

-- One product is one gateway, one IDevID is one gateway. Digests in lower-case
-- hex, as in tpm_facts.
CREATE TABLE gateway_idevids (
  gateway            BLOB    NOT NULL PRIMARY KEY REFERENCES gateways (id),
  oem                TEXT    NOT NULL,
  serial             TEXT    NOT NULL,
  spki_sha256        TEXT    NOT NULL UNIQUE CHECK (length(spki_sha256) = 64),
  certificate_sha256 TEXT    NOT NULL CHECK (length(certificate_sha256) = 64),
  recorded_at        INTEGER NOT NULL,
  UNIQUE (oem, serial)
) STRICT;
