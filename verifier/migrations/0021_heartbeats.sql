-- Gateways that beat (0020 has the up-time). A row is there from a gateway's
-- first beat on, while it is active: suspension, enrolment and recovery end it.
CREATE TABLE heartbeats (
  gateway BLOB    NOT NULL PRIMARY KEY REFERENCES gateways (id),
  -- Of the key (heartbeat::Epoch), and the id of the master key that it is
  -- derived from. NULL since the last full attestation, until a stream begins.
  epoch   BLOB    CHECK (epoch IS NULL OR length(epoch) = 16),
  master  TEXT,
  -- Up-time at the last beat, as of when beats were last written, and the TPM's
  -- clock then (u64 kept bit for bit).
  beat_up INTEGER NOT NULL,
  clock   INTEGER,
  -- What a beat has shown: the gateway was told to attest.
  doubt   TEXT,
  CHECK ((epoch IS NULL) = (master IS NULL))
) STRICT;
CREATE INDEX heartbeats_by_silence ON heartbeats (beat_up);
