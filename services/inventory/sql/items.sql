-- What the sale offers, with what is allotted now, which adjustments have changed since it began. OFFSET 0 keeps this a look-up by both
-- columns of the key for each item: as a plain join, while the planner has not heard of a sale's items yet, it compares each with all.
SELECT i.sku, i.price_minor, a.allotted AS "quantity!", i.per_buyer_limit
FROM sale_items i
CROSS JOIN LATERAL (
    SELECT allotted FROM allotments WHERE allotments.sale_id = i.sale_id AND allotments.sku = i.sku OFFSET 0
) a
WHERE i.sale_id = $1
ORDER BY i.sku
