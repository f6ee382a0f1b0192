UPDATE orders o
SET cancel_requested_at = request.at
FROM UNNEST($1::uuid[], $2::timestamptz[]) AS request (order_id, at)
WHERE o.order_id = request.order_id
    AND o.cancel_requested_at IS NULL
    AND o.state IN ('CLAIMED', 'PAYING', 'ACTION_REQUIRED')
