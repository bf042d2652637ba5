-- Silence: which gateways have not attested for too long. Measured in seconds
-- that a verifier was up, not by the clock on the wall: while none was, nobody
-- could attest, and a clock that steps tells nothing about gateways.

-- One row: the verifier's up-time, over all its runs.
CREATE TABLE uptime (
  id           INTEGER PRIMARY KEY CHECK (id = 1),
  -- Seconds up, as of the last mark. Never falls.
  seconds      INTEGER NOT NULL CHECK (seconds >= 0),
  -- When that mark was made.
  marked_at    INTEGER NOT NULL,
  -- Nobody is suspended before this up-time: the grace after a start.
  suspend_from INTEGER NOT NULL,
  -- Up-time at which all silent gateways were last found to be suspended.
  swept        INTEGER NOT NULL
) STRICT;
INSERT INTO uptime (id, seconds, marked_at, suspend_from, swept) VALUES (1, 0, 0, 0, 0);

-- Up-time at the last affirming full attestation, enrolment or recovery, or
-- when the gateway was last made active. Those of before begin now.
ALTER TABLE gateways ADD COLUMN attested_up INTEGER NOT NULL DEFAULT 0;
-- Only those that are due are read, of a million: the oldest of each class.
CREATE INDEX gateways_by_silence ON gateways (class, attested_up) WHERE state = 'active';
