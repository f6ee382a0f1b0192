ALTER TABLE sale_stock DROP COLUMN server, DROP COLUMN opened_on;
DROP TABLE stock_takeovers, redis_servers;
