-- Takes the comparing of payments with the ledger up, unless an instance has done so lately. $1 how often it is done, in ms.
UPDATE provider_comparison
SET compared_at = now()
WHERE compared_at <= now() - $1 * interval '1 millisecond'
