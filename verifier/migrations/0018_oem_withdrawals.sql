-- CA certificates of OEMs that the owner trusts no more. A path through the key
-- of one is refused, whatever else endorses it. Imported again, it is trusted
-- again.
CREATE TABLE oem_withdrawn (
  oem          TEXT    NOT NULL,
  -- Of the certificate.
  sha256       BLOB    NOT NULL CHECK (length(sha256) = 32),
  -- Of its SubjectPublicKeyInfo.
  key_sha256   BLOB    NOT NULL CHECK (length(key_sha256) = 32),
  subject      TEXT    NOT NULL,
  reason       TEXT    NOT NULL,
  withdrawn_at INTEGER NOT NULL,
  PRIMARY KEY (oem, sha256)
) STRICT;
