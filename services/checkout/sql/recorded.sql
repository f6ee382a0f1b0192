-- Which of these orders the record has.
SELECT order_id FROM orders WHERE order_id = ANY ($1)
