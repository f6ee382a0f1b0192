-- Every decision of operators about the breaker, in order: who made it, why, and until when it holds. What holds now is in breaker_force; the
-- last row here says why, if its `at` is breaker_force.updated_at. Another time there means that the version before has decided since, which
-- writes nothing here. Written by: payment.
CREATE TABLE breaker_history (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL,
    caller     text NOT NULL,
    force      text NOT NULL CHECK (force IN ('AUTO', 'OPEN', 'CLOSED')),
    reason     text NOT NULL CHECK (reason <> ''),
    -- From then on the breaker decides again; null: until the next decision.
    expires_at timestamptz CHECK (expires_at > at),
    request_id uuid NOT NULL UNIQUE
);

-- For tables to which rows are only ever added, whatever a role may do.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: rows are only added to it', TG_OP, TG_TABLE_NAME;
END
$$;

CREATE TRIGGER breaker_history_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON breaker_history
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
