-- Before which time every change of an order is committed: the time of this statement, or when the oldest transaction began that changes one.
-- Such a transaction takes a lock that names the second (order_change_time(), a function of the migrations) before it takes the time of its change.
-- A transaction that is not seen here has committed, or will take a later time than this statement's. So what is read for a list has to be read
-- by a later statement.
SELECT least(statement_timestamp(), min(to_timestamp(objid::bigint + 1577836800))) AS "before!"
FROM pg_locks
WHERE locktype = 'advisory'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid = 20261130
    AND objsubid = 2
