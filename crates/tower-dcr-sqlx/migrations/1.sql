-- Times are milliseconds since 1970-01-01 00:00 UTC.
CREATE TABLE tower_dcr_clients (
    id {KEY},
    version BIGINT NOT NULL,
    status TEXT NOT NULL,
    origin TEXT NOT NULL,
    client_id TEXT UNIQUE,
    registration TEXT NOT NULL,
    answer_status BIGINT,
    answer_body TEXT,
    repeat_key TEXT UNIQUE,
    digest TEXT NOT NULL,
    family TEXT NOT NULL,
    name TEXT NOT NULL,
    redirect_set TEXT NOT NULL,
    redirect_hosts TEXT NOT NULL,
    client_name TEXT,
    software_id TEXT,
    source TEXT,
    source_wide TEXT,
    admitted_by TEXT,
    created_at BIGINT NOT NULL,
    proven_at BIGINT,
    alive_since BIGINT NOT NULL,
    expires_at BIGINT,
    not_after BIGINT,
    reviewed_at BIGINT,
    reviewed_by TEXT,
    ended_at BIGINT,
    ended_by TEXT,
    reason TEXT,
    deprovision_at BIGINT,
    deprovision_attempts BIGINT NOT NULL,
    deprovision_error TEXT
);

-- One for each way of finding clients with something in common.
CREATE INDEX tower_dcr_clients_digest ON tower_dcr_clients (digest);
CREATE INDEX tower_dcr_clients_family ON tower_dcr_clients (family);
CREATE INDEX tower_dcr_clients_name ON tower_dcr_clients (name);
CREATE INDEX tower_dcr_clients_redirect_set ON tower_dcr_clients (redirect_set);
CREATE INDEX tower_dcr_clients_software_id ON tower_dcr_clients (software_id) WHERE software_id IS NOT NULL;
CREATE INDEX tower_dcr_clients_source ON tower_dcr_clients (source) WHERE source IS NOT NULL;
CREATE INDEX tower_dcr_clients_source_wide ON tower_dcr_clients (source_wide) WHERE source_wide IS NOT NULL;
CREATE INDEX tower_dcr_clients_created_at ON tower_dcr_clients (created_at);
CREATE INDEX tower_dcr_clients_status ON tower_dcr_clients (status, id);

-- One for each kind of work. They hold what waits for that work, and nothing else.
CREATE INDEX tower_dcr_clients_expire ON tower_dcr_clients (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX tower_dcr_clients_reconcile ON tower_dcr_clients (created_at) WHERE status = 'registering';
CREATE INDEX tower_dcr_clients_deprovision ON tower_dcr_clients (deprovision_at) WHERE deprovision_at IS NOT NULL;
CREATE INDEX tower_dcr_clients_purge ON tower_dcr_clients (ended_at)
    WHERE status IN ('expired', 'revoked', 'failed') AND deprovision_at IS NULL AND registration <> '';
CREATE INDEX tower_dcr_clients_evict ON tower_dcr_clients (created_at)
    WHERE status IN ('pending', 'active') AND proven_at IS NULL AND reviewed_at IS NULL AND origin = 'registered';

CREATE TABLE tower_dcr_redirect_hosts (
    host TEXT NOT NULL,
    client BIGINT NOT NULL REFERENCES tower_dcr_clients (id) ON DELETE CASCADE,
    PRIMARY KEY (host, client)
);
CREATE INDEX tower_dcr_redirect_hosts_client ON tower_dcr_redirect_hosts (client);

CREATE TABLE tower_dcr_blocks (
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (kind, value)
);

-- How many clients are live. One row, locked by whoever changes it: nobody gets past the quota.
CREATE TABLE tower_dcr_live (clients BIGINT NOT NULL);
INSERT INTO tower_dcr_live (clients) VALUES (0);
