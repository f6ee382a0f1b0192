-- Of items the sale no longer has. Before the first order nothing is claimed.
DELETE FROM allotments a
WHERE a.sale_id = $1 AND NOT EXISTS (SELECT FROM sale_items i WHERE i.sale_id = a.sale_id AND i.sku = a.sku)
