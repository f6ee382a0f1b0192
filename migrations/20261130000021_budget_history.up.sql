-- Calls a second that operators have set for an endpoint, or for all of them, in place of the configured ones; null where the configuration
-- counts. Written by: payment.
ALTER TABLE provider_budgets ADD COLUMN set_rate double precision CHECK (set_rate > 0 AND set_rate <= 10000);

-- Every such decision, in order. Written by: payment.
CREATE TABLE budget_history (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL,
    caller     text NOT NULL,
    -- `all` for all endpoints together.
    endpoint   text NOT NULL,
    -- Null: the configuration counts again.
    per_s      double precision CHECK (per_s > 0 AND per_s <= 10000),
    reason     text NOT NULL CHECK (reason <> ''),
    request_id uuid NOT NULL UNIQUE
);

CREATE TRIGGER budget_history_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON budget_history
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
