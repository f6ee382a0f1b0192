DROP TABLE breaker_force, provider_budgets, refunds, payments, dead_letters, queue_positions, outbox, order_transitions,
    order_lines, orders, rooms, allotments, sale_stock, sale_requests, sale_items, sales;
