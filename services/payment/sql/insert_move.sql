-- Writes a move of money into the ledger, once. $1 kind, $2 the provider's id, $3 order, $4 amount, $5 currency, $6 how it was learnt.
INSERT INTO money_moves (kind, provider_ref, order_id, amount_minor, currency, learnt_by)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (kind, provider_ref) DO NOTHING
