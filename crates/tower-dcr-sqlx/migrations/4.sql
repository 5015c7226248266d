-- Several records of one client_id, where the server gives it to several registrations: the first has it in `client_id`,
-- each other one in `shared_id`, and they differ in `variant`.
ALTER TABLE tower_dcr_clients ADD COLUMN variant TEXT NOT NULL DEFAULT '';
ALTER TABLE tower_dcr_clients ADD COLUMN shared_id TEXT;
CREATE UNIQUE INDEX tower_dcr_clients_shared_id ON tower_dcr_clients (shared_id, variant) WHERE shared_id IS NOT NULL;

-- Clients that were registered elsewhere have a bound of their own, and don't count against the quota.
CREATE INDEX tower_dcr_clients_elsewhere ON tower_dcr_clients (alive_since)
    WHERE status IN ('pending', 'active') AND origin = 'elsewhere';
UPDATE tower_dcr_live SET clients = (
    SELECT COUNT(*) FROM tower_dcr_clients
    WHERE status IN ('registering', 'pending', 'active') AND origin = 'registered'
);

-- Which client pushed an authorization request (RFC 9126), by a digest of its request_uri.
CREATE TABLE tower_dcr_pushed (
    request TEXT PRIMARY KEY,
    client_id TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX tower_dcr_pushed_expires_at ON tower_dcr_pushed (expires_at);

-- Ids in another case, which a server may take for the same client.
CREATE INDEX tower_dcr_clients_lower_client_id ON tower_dcr_clients (lower(COALESCE(client_id, shared_id)));
