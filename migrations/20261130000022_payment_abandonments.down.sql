DROP TABLE payment_abandonments;
