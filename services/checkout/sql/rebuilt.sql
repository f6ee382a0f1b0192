-- Whether the stock of a sale was ever rebuilt.
SELECT EXISTS (SELECT FROM stock_fences WHERE sale_id = $1) AS "rebuilt!"
