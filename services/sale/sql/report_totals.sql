-- Orders, money and what is under way, of one sale. $2: for how many seconds after its stock was rebuilt an order of an older epoch may
-- still come out of the queue.
WITH mine AS MATERIALIZED (
    SELECT order_id, state FROM orders WHERE sale_id = $1
), counts AS (
    SELECT count(*) FILTER (WHERE state IN ('CLAIMED', 'PAYING', 'ACTION_REQUIRED')) AS open,
        count(*) FILTER (WHERE state = 'DEAD_LETTER') AS dead_letters,
        count(*) FILTER (WHERE state = 'CONFIRMED') AS confirmed,
        count(*) FILTER (WHERE state = 'DECLINED') AS declined,
        count(*) FILTER (WHERE state = 'CANCELLED') AS cancelled,
        count(*) FILTER (WHERE state = 'REFUNDED') AS refunded
    FROM mine
), taken AS (
    SELECT coalesce(sum(captured_minor), 0)::bigint AS captured_minor,
        count(*) FILTER (WHERE p.state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')) AS open
    FROM mine JOIN payments p USING (order_id)
), given_back AS (
    SELECT coalesce(sum(amount_minor) FILTER (WHERE r.state = 'DONE'), 0)::bigint AS done_minor,
        -- One that the provider could not carry out is neither back nor due.
        coalesce(sum(amount_minor) FILTER (WHERE r.state IN ('DUE', 'PENDING')), 0)::bigint AS due_minor,
        count(*) FILTER (WHERE r.state IN ('DUE', 'PENDING')) AS due
    FROM mine JOIN refunds r USING (order_id)
), behind AS (
    -- An order that is yet to follow its payment.
    SELECT count(*) AS orders
    FROM mine JOIN payments p USING (order_id)
    WHERE (mine.state = 'CONFIRMED' AND p.state = 'REFUNDED') OR (mine.state IN ('DECLINED', 'CANCELLED') AND p.state = 'SUCCEEDED')
), owed AS (
    SELECT count(*) AS due, count(*) FILTER (WHERE kind NOT IN ('mail', 'event')) AS unsettled
    FROM mine JOIN outbox USING (order_id)
    WHERE done_at IS NULL
), apart AS (
    -- What the record knows of and neither an order nor a placed hold shows: orders whose units are to be taken anew, adjustments half done.
    SELECT (SELECT count(*) FROM parked_orders WHERE sale_id = $1)
        + (SELECT count(*) FROM stock_adjustments WHERE sale_id = $1 AND state = 'STARTED') AS parts
), stock AS (
    SELECT EXISTS (
        SELECT FROM sale_stock
        WHERE sale_id = $1 AND epoch > 1 AND loaded_at > now() - $2 * interval '1 second'
    ) AS rebuilt_lately
)
SELECT now() AS "read_at!", counts.open AS "orders_open!", dead_letters AS "dead_letters!", confirmed AS "confirmed!",
    declined AS "declined!", cancelled AS "cancelled!", refunded AS "refunded!", captured_minor AS "captured_minor!",
    taken.open AS "payments_open!", done_minor AS "refunded_minor!", due_minor AS "refund_due_minor!", given_back.due AS "refunds_due!",
    owed.due AS "consequences_due!", unsettled + behind.orders + apart.parts AS "unsettled!",
    rebuilt_lately AS "rebuilt_lately!"
FROM counts, taken, given_back, behind, owed, apart, stock
