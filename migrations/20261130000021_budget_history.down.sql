DROP TABLE budget_history;
ALTER TABLE provider_budgets DROP COLUMN set_rate;
