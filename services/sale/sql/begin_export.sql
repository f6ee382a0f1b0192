-- When the snapshot was taken. $1: for how long its transaction may wait for a reader of the file that takes its time; only for this one.
SELECT now() AS "read_at!"
FROM set_config('idle_in_transaction_session_timeout', $1, true)
