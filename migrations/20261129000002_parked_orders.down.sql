DROP TABLE parked_orders;
