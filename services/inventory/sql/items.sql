SELECT sku, price_minor, quantity, per_buyer_limit FROM sale_items WHERE sale_id = $1 ORDER BY sku
