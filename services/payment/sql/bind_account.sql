-- Notes which account has this deployment's payments, unless that stands there. $1 its id, $2 whether its money is real.
UPDATE provider_account
SET account_id = $1, is_live = $2, bound_at = now()
WHERE account_id IS NULL
