-- one order with its lines
SELECT o_orderdate, o_totalprice, l_linenumber, l_quantity, l_extendedprice, l_shipdate
FROM orders
JOIN lineitem ON l_orderkey = o_orderkey
WHERE o_orderkey = 39
ORDER BY l_linenumber;
