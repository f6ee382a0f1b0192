-- no-transaction
DROP INDEX CONCURRENTLY payments_ended
