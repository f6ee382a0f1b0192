DROP TABLE sale_sources;
