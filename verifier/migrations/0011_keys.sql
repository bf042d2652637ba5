-- Which keys the service found in its keyring, so that a change is on record
-- whoever made it: public identifiers only.
CREATE TABLE keys (
  kind       TEXT    NOT NULL,
  id         TEXT    NOT NULL,
  state      TEXT    NOT NULL CHECK (state IN ('current', 'ending', 'gone')),
  changed_at INTEGER NOT NULL,
  PRIMARY KEY (kind, id)
) STRICT;
