-- The clients that make room when the table is full, by the network that they came from: never used, and used. The indices
-- hold everything that is read to count them: SQLite looks at the conditions, too.
ALTER TABLE tower_dcr_clients ADD COLUMN statement_issuer TEXT;
ALTER TABLE tower_dcr_clients ADD COLUMN vouched BIGINT NOT NULL DEFAULT 0;
UPDATE tower_dcr_clients SET vouched = 1
    WHERE admitted_by IS NOT NULL OR identity LIKE '%"standing":"verified"%';
DROP INDEX tower_dcr_clients_evict;
CREATE INDEX tower_dcr_clients_unused
    ON tower_dcr_clients (vouched, source_wide, alive_since, status, origin, reviewed_at, proven_at)
    WHERE status IN ('pending', 'active') AND origin = 'registered' AND reviewed_at IS NULL AND proven_at IS NULL;
CREATE INDEX tower_dcr_clients_used
    ON tower_dcr_clients (vouched, source_wide, alive_since, status, origin, reviewed_at, proven_at)
    WHERE status IN ('pending', 'active') AND origin = 'registered' AND reviewed_at IS NULL AND proven_at IS NOT NULL;

-- Addresses that are to be shortened to their network.
CREATE INDEX tower_dcr_clients_shorten_source ON tower_dcr_clients (created_at) WHERE source <> source_wide;

-- Of what failed, a digest and a time are kept, and not for long.
DELETE FROM tower_dcr_clients WHERE status = 'failed';
CREATE INDEX tower_dcr_clients_spent ON tower_dcr_clients (ended_at)
    WHERE registration = '' AND deprovision_at IS NULL
    AND (status = 'failed' OR (status = 'expired' AND (deprovision_attempts > 0 OR variant <> '')));
