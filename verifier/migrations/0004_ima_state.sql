-- How far the IMA log of a gateway was replayed, and what is in it; one row a
-- gateway, written with the verdict that rests on it. JSON of appraisal::ima.
CREATE TABLE ima_states (
  gateway    BLOB    NOT NULL PRIMARY KEY REFERENCES gateways (id),
  state      TEXT    NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;
