-- Has what is left of an intent's money be less, because other refunds have taken of it. Nothing left: it is done. Another amount goes out as
-- another try: under one key the provider takes one amount. $1 refund, $2 what is left.
UPDATE refunds
SET amount_minor = $2,
    try = try + 1,
    state = CASE WHEN $2 = 0 THEN 'DONE' ELSE state END,
    done_at = CASE WHEN $2 = 0 THEN now() END
WHERE refund_id = $1 AND state = 'DUE' AND amount_minor > $2
