-- orders of many pieces (grouped by the distribution key)
SELECT o_orderkey, o_orderdate, o_totalprice, sum(l_quantity) AS pieces
FROM orders
JOIN lineitem ON l_orderkey = o_orderkey
GROUP BY o_orderkey, o_orderdate, o_totalprice
HAVING sum(l_quantity) > 280
ORDER BY o_totalprice DESC, o_orderkey;
