-- What the buyer needs to authenticate, from when the provider asks for it until the payment ends. For the buyer alone.
-- Written by: payment.
ALTER TABLE payments
    ADD COLUMN client_secret text,
    ADD COLUMN redirect_url text,
    ADD COLUMN turn_until timestamptz;
