-- Compare-and-set per order, on rows that are locked already.
UPDATE orders o
SET state = change.to_state, end_reason = COALESCE(change.end_reason, o.end_reason), updated_at = order_change_time()
FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[]) AS change (order_id, from_state, to_state, end_reason)
WHERE o.order_id = change.order_id AND o.state = change.from_state
RETURNING o.order_id
