-- Written by: inventory. The Redis servers that instances keep stock on. Each instance confirms its server once a second; in a
-- Cluster each slot that has a sale has a row of its own, `<server>#<slot>`. A server whose row stands still may be replaced.
CREATE TABLE redis_servers (
    server     text PRIMARY KEY,
    beats      bigint NOT NULL CHECK (beats >= 0),
    seen_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    retired_at timestamptz
);

-- Written by: inventory. The journal of takeovers: which server was made the one that counts, in place of which others, and why.
CREATE TABLE stock_takeovers (
    request_id uuid PRIMARY KEY,
    server     text NOT NULL,
    retired    text[] NOT NULL,
    reason     text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- server: the server that the epoch was raised on, which is the one that counts, also while its stock is not whole yet and run_id is empty.
-- opened_on: the server of the latest epoch that was open. Both are empty for what was loaded before there were these columns.
ALTER TABLE sale_stock
    ADD COLUMN server text NOT NULL DEFAULT '',
    ADD COLUMN opened_on text NOT NULL DEFAULT '';
