-- Clients whose client_id is the URL of their metadata document: its state, as JSON; its host and site, and the time since
-- which a change waits for an operator.
ALTER TABLE tower_dcr_clients ADD COLUMN document TEXT;
ALTER TABLE tower_dcr_clients ADD COLUMN document_host TEXT;
ALTER TABLE tower_dcr_clients ADD COLUMN document_site TEXT;
ALTER TABLE tower_dcr_clients ADD COLUMN document_held_at BIGINT;
CREATE INDEX tower_dcr_clients_document_host ON tower_dcr_clients (document_host) WHERE document_host IS NOT NULL;
CREATE INDEX tower_dcr_clients_document_site ON tower_dcr_clients (document_site) WHERE document_site IS NOT NULL;
CREATE INDEX tower_dcr_clients_document_held ON tower_dcr_clients (document_held_at) WHERE document_held_at IS NOT NULL;

-- They have a bound of their own, and make room among themselves.
CREATE INDEX tower_dcr_clients_documents ON tower_dcr_clients (origin, status, reviewed_at, vouched, alive_since)
    WHERE origin = 'document';
