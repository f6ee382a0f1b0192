-- A decision that was to end by itself holds on: the version before knows no end.
DROP TABLE breaker_history;
DROP FUNCTION refuse_change;
