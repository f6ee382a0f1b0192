-- What the sale offers, with what is allotted now, which adjustments have changed since it began.
SELECT i.sku, i.price_minor, a.allotted AS quantity, i.per_buyer_limit
FROM sale_items i
JOIN allotments a USING (sale_id, sku)
WHERE i.sale_id = $1
ORDER BY i.sku
