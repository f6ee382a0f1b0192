DROP TABLE sale_changes;
CREATE INDEX sales_to_finalize ON sales (sale_id) WHERE state = 'ENDED' AND final_at IS NULL;
DROP INDEX sales_over;
DROP INDEX sale_items_by_sku;
DROP INDEX sales_planned;
-- What the version before does not know: a planned sale is a draft to it, a prepared one opens by its window, and one that was called off is over.
UPDATE sales SET state = 'OPEN' WHERE state = 'PREPARED';
UPDATE sales SET state = 'ENDED' WHERE state = 'CANCELLED';
ALTER TABLE sales
    DROP COLUMN may_sell,
    DROP COLUMN room_pre_queue_ms,
    DROP COLUMN allow_shared_skus,
    DROP COLUMN cancel_requested,
    DROP CONSTRAINT sales_final_check,
    ADD CONSTRAINT sales_check2 CHECK (final_at IS NULL OR state = 'ENDED'),
    DROP CONSTRAINT sales_state_check,
    ADD CONSTRAINT sales_state_check CHECK (state IN ('DRAFT', 'SCHEDULED', 'OPEN', 'PAUSED', 'ENDED'));
