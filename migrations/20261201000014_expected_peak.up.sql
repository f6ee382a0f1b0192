-- How many buyers a second the shop expects at the peak of a sale, to check whether they can be served; null if it does not say.
-- Written by: sale.
ALTER TABLE sales ADD COLUMN expected_peak_per_second bigint CHECK (expected_peak_per_second > 0)
