-- Prices and limits that change while a sale is prepared or on. The first revision of each price is the item's own; those that come later
-- stand here before any store of stock learns of them, and stay, so that each price that units were ever taken at can be looked up.

ALTER TABLE sale_items
    -- What a unit costs outside the sale; null if the shop has not said so.
    ADD COLUMN regular_minor bigint CHECK (regular_minor >= 0);

-- Written by: sale. Revisions of one sale take effect in the order of their numbers.
CREATE TABLE price_revisions (
    sale_id      uuid NOT NULL REFERENCES sales,
    revision     bigint NOT NULL CHECK (revision >= 2),
    -- From when on it was asked for.
    effective_at timestamptz NOT NULL,
    -- From when on units are taken at it, by the clock of the stock's store; null while that store is not known to have it.
    switches_at  timestamptz,
    -- The later revision that has replaced it before it took effect. Where the store had switched by then, `switches_at` says so.
    replaced_by  bigint CHECK (replaced_by > revision),
    -- How many skus it changes: its rows in sale_prices, which are too many to be counted whenever a sale is read.
    skus         bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (sale_id, revision)
);
CREATE INDEX price_revisions_waiting ON price_revisions (sale_id, revision) WHERE switches_at IS NULL AND replaced_by IS NULL;

-- Written by: sale, with the revision; never changed. The skus that the revision changes.
CREATE TABLE sale_prices (
    sale_id         uuid NOT NULL,
    sku             text NOT NULL,
    revision        bigint NOT NULL,
    price_minor     bigint NOT NULL CHECK (price_minor >= 0),
    regular_minor   bigint CHECK (regular_minor >= 0),
    per_buyer_limit bigint NOT NULL CHECK (per_buyer_limit >= 0),
    PRIMARY KEY (sale_id, sku, revision),
    FOREIGN KEY (sale_id, revision) REFERENCES price_revisions,
    FOREIGN KEY (sale_id, sku) REFERENCES sale_items
);
CREATE INDEX sale_prices_by_revision ON sale_prices (sale_id, revision);

-- The revision of the price that its units were taken at.
ALTER TABLE order_lines
    ADD COLUMN price_revision bigint NOT NULL DEFAULT 1;

-- The revisions of a sale's prices, after the first, that have taken effect: by this server's clock, by that of the stock's store, or because
-- an order was placed at one. They do so in the order of their numbers, so that none is left out before a later one, unless it was replaced.
CREATE FUNCTION price_revisions_in_effect(sale uuid) RETURNS SETOF bigint
LANGUAGE sql STABLE
AS $$
    WITH revisions AS (
        SELECT r.revision, r.replaced_by IS NULL AS wanted, r.effective_at, r.switches_at,
            coalesce(r.switches_at <= now(), false) OR EXISTS (
                SELECT FROM orders o JOIN order_lines l USING (order_id) WHERE o.sale_id = sale AND l.price_revision = r.revision
            ) AS proven
        FROM price_revisions r
        WHERE r.sale_id = sale
    ), latest AS (
        SELECT max(revision) AS revision
        FROM revisions
        WHERE proven OR (wanted AND coalesce(switches_at, effective_at) <= now())
    )
    SELECT r.revision
    FROM revisions r, latest
    WHERE r.revision <= latest.revision AND (r.wanted OR r.proven)
$$;
