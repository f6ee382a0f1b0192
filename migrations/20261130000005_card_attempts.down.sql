DROP TABLE payment_attempts;
ALTER TABLE payments
    DROP COLUMN decline_final,
    DROP COLUMN decline_ref,
    DROP COLUMN card_declined_at,
    DROP COLUMN card_sent,
    DROP COLUMN card_declined,
    DROP COLUMN card_attempt,
    DROP COLUMN action_at,
    DROP COLUMN action;
ALTER TABLE payments RENAME COLUMN key_is_spent TO key_spent;
