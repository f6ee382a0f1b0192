-- Makes open payments due that have not changed for long, so that the provider is asked. $1 how long, in ms.
UPDATE payments
SET due_at = now(), updated_at = now()
WHERE state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
    AND due_at > now() AND updated_at < now() - $1 * interval '1 millisecond'
