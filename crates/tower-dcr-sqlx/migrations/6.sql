-- Columns are named as the members of a record are. Indices and unique keys follow.
ALTER TABLE tower_dcr_clients RENAME COLUMN repeat_key TO dedup_key;
ALTER TABLE tower_dcr_clients RENAME COLUMN proven_at TO last_used_at;
ALTER TABLE tower_dcr_clients RENAME COLUMN answer_status TO response_status;
ALTER TABLE tower_dcr_clients RENAME COLUMN answer_body TO response_body;
