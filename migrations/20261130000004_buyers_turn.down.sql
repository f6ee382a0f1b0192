ALTER TABLE payments DROP COLUMN turn_until, DROP COLUMN redirect_url, DROP COLUMN client_secret;
