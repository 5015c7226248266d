-- Which configuration of the rules let the client in, as 16 hexadecimal digits.
ALTER TABLE tower_dcr_clients ADD COLUMN policy TEXT;
