-- Every EK that a gateway has shown: each is on one record only, whatever became
-- of that gateway (active, suspended, revoked, replaced). A row stays.
CREATE TABLE gateway_eks (
  -- Of the EK's SubjectPublicKeyInfo.
  spki_sha256  BLOB    NOT NULL PRIMARY KEY CHECK (length(spki_sha256) = 32),
  gateway      BLOB    NOT NULL REFERENCES gateways (id),
  -- TPMT_PUBLIC.
  public       BLOB    NOT NULL,
  -- Over its certificates as shown; on the IAK road, of the first, over the IAK's.
  chain_sha256 BLOB    NOT NULL CHECK (length(chain_sha256) = 32),
  -- JSON object, as gateways.tpm_facts: what its certificate says of the TPM, and
  -- how it was endorsed.
  facts        TEXT    NOT NULL,
  -- When it was first and last shown, in an enrolment or a recovery.
  first_shown  INTEGER NOT NULL,
  last_shown   INTEGER NOT NULL
) STRICT;
CREATE INDEX gateway_eks_by_gateway ON gateway_eks (gateway);

-- So far a record had one EK.
INSERT INTO gateway_eks
  (spki_sha256, gateway, public, chain_sha256, facts, first_shown, last_shown)
SELECT ek_spki_sha256, id, ek_public, ek_chain_sha256, tpm_facts, enrolled_at, enrolled_at
FROM gateways;
