-- Records what operators decided about the breaker. $1 AUTO, OPEN or CLOSED, $2 when: the time of its row in the history.
INSERT INTO breaker_force (force, updated_at) VALUES ($1, $2)
ON CONFLICT (only_row) DO UPDATE SET force = $1, updated_at = $2
