-- Sweeping looks for boot logs that no gateway refers to any more, and so does
-- the foreign key when one is removed.
CREATE INDEX gateways_by_boot_log ON gateways (boot_log_sha256);
