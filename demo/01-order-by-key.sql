-- one order, by key
SELECT * FROM orders WHERE o_orderkey = 4711;
