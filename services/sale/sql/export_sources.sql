-- The keys of the rows that items were imported from, of files of the format $2.
SELECT sku AS "sku!", source_key AS "source_key!: Json<BTreeMap<String, String>>"
FROM sale_sources
WHERE sale_id = $1 AND lower(format) = $2
