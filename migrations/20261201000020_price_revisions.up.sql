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

-- The revisions of a sale's prices, after the first, that have taken effect: by this server's clock, by that of the stock's store, because an
-- order was placed at one, or because one behind it stands beside the stock. They do so in the order of their numbers, so that none is left out
-- before a later one, unless it was replaced. Orders are looked at once, and only if clocks that differ, or one that was replaced at the last
-- moment, leave it open: a sale may have a million lines.
CREATE FUNCTION price_revisions_in_effect(sale uuid) RETURNS SETOF bigint
LANGUAGE sql STABLE
AS $$
    WITH revisions AS MATERIALIZED (
        SELECT revision, replaced_by IS NULL AS wanted, effective_at, switches_at, coalesce(switches_at <= now(), false) AS has_switched
        FROM price_revisions
        WHERE sale_id = sale
    ), ordered AS MATERIALIZED (
        SELECT DISTINCT l.price_revision AS revision
        FROM order_lines l
        JOIN orders o USING (order_id)
        WHERE l.price_revision > 1 AND o.sale_id = sale AND EXISTS (
            SELECT FROM revisions
            WHERE NOT has_switched AND effective_at BETWEEN now() - interval '1 hour' AND now() + interval '5 minutes'
        )
    ), seen AS (
        SELECT r.revision, r.wanted, r.has_switched OR o.revision IS NOT NULL AS proven,
            r.wanted AND coalesce(r.switches_at, r.effective_at) <= now() AS due,
            r.wanted AND r.switches_at IS NOT NULL AS stands
        FROM revisions r
        LEFT JOIN ordered o ON o.revision = r.revision
    ), latest AS (
        SELECT GREATEST(
            max(s.revision) FILTER (WHERE s.proven OR s.due),
            (SELECT max(e.revision) FROM seen e WHERE e.wanted AND e.revision < (SELECT max(n.revision) FROM seen n WHERE n.stands))
        ) AS revision
        FROM seen s
    )
    SELECT s.revision
    FROM seen s, latest
    WHERE s.revision <= latest.revision AND (s.wanted OR s.proven)
$$;
