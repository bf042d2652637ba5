-- Which LDevID an answer that grants rests on: the one that it brought, or else
-- that of the connection. Once that is revoked, the answer is not given again.
-- Answers of before have none; they end within minutes.
ALTER TABLE answers ADD COLUMN ldevid BLOB CHECK (ldevid IS NULL OR length(ldevid) = 32);
