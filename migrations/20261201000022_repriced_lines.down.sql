-- no-transaction
DROP INDEX CONCURRENTLY order_lines_repriced
