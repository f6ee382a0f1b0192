-- Notes how many payments contradict the ledger or their orders. $1 how many.
UPDATE provider_comparison SET differences = $1
