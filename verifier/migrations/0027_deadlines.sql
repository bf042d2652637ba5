-- Deadlines that hold as they were given, whatever the settings become. All times
-- are up-time (0020).

-- Up-time is counted finer than it is compared: seconds and these.
ALTER TABLE uptime ADD COLUMN milliseconds INTEGER NOT NULL DEFAULT 0
  CHECK (milliseconds BETWEEN 0 AND 999);

-- Within how many seconds the gateway was told to beat again, and until when the
-- next beat is due by that. NULL where it was not told, and in rows of before.
ALTER TABLE heartbeats ADD COLUMN beat_within INTEGER;
ALTER TABLE heartbeats ADD COLUMN beat_due INTEGER;
DROP INDEX heartbeats_by_silence;
CREATE INDEX heartbeats_by_silence ON heartbeats (beat_due) WHERE beat_due IS NOT NULL;

-- It is suspended from then on: unless it attests, where it was told to (doubt
-- says why); else unless it begins to beat.
ALTER TABLE heartbeats ADD COLUMN deadline INTEGER;
CREATE INDEX heartbeats_by_deadline ON heartbeats (deadline) WHERE deadline IS NOT NULL;
