ALTER TABLE sales DROP COLUMN expected_peak_per_second
