-- Later revisions of the prices of sale $1: their numbers, from when on they were asked for, and how many skus each changes.
INSERT INTO price_revisions (sale_id, revision, effective_at, skus)
SELECT $1, *
FROM unnest($2::bigint[], $3::timestamptz[], $4::bigint[])
