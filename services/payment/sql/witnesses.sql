-- The intents that were captured for the payments recorded last before a moment, and first after it. $1 the moment.
(
    SELECT intent_id AS "intent_id!" FROM payments
    WHERE state = 'SUCCEEDED' AND intent_id IS NOT NULL AND created_at <= $1
    ORDER BY created_at DESC
    LIMIT 1
)
UNION ALL
(
    SELECT intent_id FROM payments
    WHERE state = 'SUCCEEDED' AND intent_id IS NOT NULL AND created_at > $1
    ORDER BY created_at
    LIMIT 1
)
