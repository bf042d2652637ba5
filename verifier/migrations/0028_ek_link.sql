-- Whether the AK certified the EK on record. In rows of before it did not.
ALTER TABLE gateways ADD COLUMN ek_certified INTEGER NOT NULL DEFAULT 0
  CHECK (ek_certified IN (0, 1));
