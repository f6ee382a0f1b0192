-- Makes open payments due that have not changed for long, so that the provider is asked, unless it has asked not to be. $1 how long, in ms.
UPDATE payments
SET due_at = now(), updated_at = now()
WHERE state IN ('DUE', 'PROCESSING', 'REQUIRES_ACTION')
    AND due_at > now() AND (not_before IS NULL OR not_before <= now()) AND updated_at < now() - $1 * interval '1 millisecond'
