-- Written by: sale, once and never changed. When the sale's report was first final: from then on nothing more happens to its stock, and what is
-- final is read here instead of being worked out again. Null until then.
ALTER TABLE sales ADD COLUMN final_at timestamptz CHECK (final_at IS NULL OR state = 'ENDED');
-- Ended sales whose report is not final yet.
CREATE INDEX sales_to_finalize ON sales (sale_id) WHERE state = 'ENDED' AND final_at IS NULL;
