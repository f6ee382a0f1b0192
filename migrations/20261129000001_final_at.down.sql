DROP INDEX sales_to_finalize;
ALTER TABLE sales DROP COLUMN final_at;
