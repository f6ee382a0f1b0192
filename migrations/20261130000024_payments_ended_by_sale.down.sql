-- no-transaction
DROP INDEX CONCURRENTLY payments_ended_by_sale
