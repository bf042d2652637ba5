-- Revocation: what CRLs, OCSP and the acceptor go by; and the outbox, from
-- which `Watch` and the webhooks tell what happened to a gateway.

-- Key identifier of the issuing CA, as in authorityKeyIdentifier; NULL: issued
-- before this column was there, by the first CA.
ALTER TABLE certificates ADD COLUMN issuer BLOB CHECK (issuer IS NULL OR length(issuer) = 20);
-- The CRL that its distribution point names: 1 is the full one, n + i is part
-- i of n (n a power of two).
ALTER TABLE certificates ADD COLUMN crl INTEGER NOT NULL DEFAULT 1 CHECK (crl BETWEEN 1 AND 511);
-- CRLReason (RFC 5280 §5.3.1).
ALTER TABLE certificates ADD COLUMN reason_code INTEGER CHECK (reason_code BETWEEN 0 AND 10);
-- Place in the order of revocations, from 1; those of one step share it.
ALTER TABLE certificates ADD COLUMN revocation INTEGER CHECK (revocation > 0);
UPDATE certificates SET revocation = 1, reason_code = CASE revocation_reason
    WHEN 'superseded' THEN 4 WHEN 'evidence' THEN 9 WHEN 'silence' THEN 9 ELSE 0 END
  WHERE revoked_at IS NOT NULL;
CREATE INDEX certificates_by_revocation ON certificates (revocation)
  WHERE revocation IS NOT NULL;
CREATE INDEX certificates_by_end ON certificates (not_after);

-- CRLReason of a gateway that is revoked.
ALTER TABLE gateways ADD COLUMN reason_code INTEGER CHECK (reason_code BETWEEN 0 AND 10);
-- Number of its last event, from 1; stays when events are swept.
ALTER TABLE gateways ADD COLUMN events INTEGER NOT NULL DEFAULT 0;

-- The last CRL of each scope. Its number is taken here before it is signed.
CREATE TABLE crls (
  issuer      BLOB    NOT NULL CHECK (length(issuer) = 20),
  crl         INTEGER NOT NULL CHECK (crl BETWEEN 1 AND 511),
  number      INTEGER NOT NULL CHECK (number > 0),
  this_update INTEGER NOT NULL,
  -- thisUpdate of the last one that was due, and not only brought about by a
  -- change: what ended before it was listed once more and may go (RFC 5280 §3.3).
  regular_at  INTEGER NOT NULL,
  PRIMARY KEY (issuer, crl)
) STRICT;

-- The outbox. Written in the transaction of the change that it tells.
CREATE TABLE events (
  -- Never used again, also where the last row was swept.
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  -- For receivers that get one twice; random, so that it stays unique where a
  -- backup is restored.
  id       BLOB    NOT NULL DEFAULT (randomblob(16)) UNIQUE CHECK (length(id) = 16),
  at       INTEGER NOT NULL,
  gateway  BLOB    NOT NULL,
  -- 1, 2, ... of this gateway, without gaps.
  number   INTEGER NOT NULL,
  kind     TEXT    NOT NULL,
  -- JSON object: more, by kind (docs/revocation.md).
  detail   TEXT    NOT NULL,
  UNIQUE (gateway, number)
) STRICT;
CREATE INDEX events_by_time ON events (at);

-- How far each webhook is: everything up to `position` was taken by it.
CREATE TABLE webhooks (
  url        TEXT    NOT NULL PRIMARY KEY,
  position   INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;
