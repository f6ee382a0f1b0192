DROP INDEX payments_due_by_sale;
ALTER TABLE provider_budgets DROP COLUMN rate_at, DROP COLUMN rate;
