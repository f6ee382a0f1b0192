-- Makes decisions about the breaker wait for each other, so that the last row of the history is the one that holds.
SELECT force FROM breaker_force FOR UPDATE
