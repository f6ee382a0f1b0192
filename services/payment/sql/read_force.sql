-- What operators decided about the breaker.
SELECT force FROM breaker_force
