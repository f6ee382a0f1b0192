-- Records what operators decided about the breaker. $1 AUTO, OPEN or CLOSED.
INSERT INTO breaker_force (force) VALUES ($1)
ON CONFLICT (only_row) DO UPDATE SET force = $1, updated_at = now()
