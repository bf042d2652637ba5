-- Gateways that were sent secrets which had been sent to them before: how much
-- of that they have left. Enrolment and recovery end a row.
CREATE TABLE secret_redeliveries (
  gateway BLOB    NOT NULL PRIMARY KEY CHECK (length(gateway) = 33),
  -- Up-time (0020) at which they have all of it again.
  full_up INTEGER NOT NULL
) STRICT;
