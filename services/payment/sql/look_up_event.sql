-- Whether an event of the provider's was taken, and the trace of its order. $1 its id, $2 the order it names.
SELECT EXISTS (SELECT FROM provider_events WHERE event_id = $1) AS "known!",
    (SELECT traceparent FROM payments WHERE order_id = $2) AS traceparent
