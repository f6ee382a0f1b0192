SELECT server, retired, reason FROM stock_takeovers WHERE request_id = $1
