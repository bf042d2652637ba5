-- What has ended is removed by a time that follows the clock no faster than the
-- verifier's own up-time explains: one wrong clock, however far ahead, removes
-- nothing that is in force.

-- One row. at: that time; 0 where there is none yet. up: up-time when it was
-- looked at last.
CREATE TABLE sweep_mark (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  at INTEGER NOT NULL,
  up INTEGER NOT NULL
) STRICT;
INSERT INTO sweep_mark (id, at, up)
  SELECT 1, CASE WHEN marked_at > 0 THEN marked_at
    ELSE coalesce((SELECT at FROM audit ORDER BY id DESC LIMIT 1), 0) END, seconds
  FROM uptime;

-- Up-time at which the challenge has ended, whatever the clock says: until then
-- it is known as spent.
ALTER TABLE answers ADD COLUMN until_up INTEGER NOT NULL DEFAULT 0;
