-- When an order changes, for `orders.updated_at`: later than the time that the transaction's lock names, and locked first. ListOrders reads those locks
-- to know up to which time no change is still to be committed. The lock is shared, so that it is never waited for; its two numbers are that of
-- changes of orders and the second in which the transaction began, counted from 2020 on so that it fits until 2088.
CREATE FUNCTION order_change_time() RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(20261130, floor(extract(epoch FROM now()) - 1577836800)::integer);
    -- Not before the second of the lock, should the clock have been set back since.
    RETURN greatest(clock_timestamp(), now());
END
$$;
ALTER TABLE orders ALTER COLUMN updated_at SET DEFAULT order_change_time();

-- A sale's orders by their last change.
CREATE INDEX orders_by_change ON orders (sale_id, updated_at, order_id);
