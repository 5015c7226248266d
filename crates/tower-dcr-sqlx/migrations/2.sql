-- Who the client claims to be, as JSON; and the rules that its initial access token named.
ALTER TABLE tower_dcr_clients ADD COLUMN identity TEXT;
ALTER TABLE tower_dcr_clients ADD COLUMN rules TEXT;

-- How often each initial access token has admitted a client.
CREATE TABLE tower_dcr_token_uses (
    token TEXT PRIMARY KEY,
    uses BIGINT NOT NULL
);
