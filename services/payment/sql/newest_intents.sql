-- The intents of the payments recorded last, whatever has become of them.
SELECT intent_id AS "intent_id!" FROM payments
WHERE intent_id IS NOT NULL
ORDER BY created_at DESC
LIMIT 3
