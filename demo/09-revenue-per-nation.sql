-- revenue per supplier's nation (orders, lines, reference tables)
SELECT n_name, sum(l_extendedprice * (1 - l_discount)) AS revenue, count(*) AS lines
FROM orders
JOIN lineitem ON l_orderkey = o_orderkey
JOIN supplier ON s_suppkey = l_suppkey
JOIN nation ON n_nationkey = s_nationkey
WHERE o_orderdate >= date '1995-01-01' AND o_orderdate < date '1996-01-01'
GROUP BY n_name
ORDER BY revenue DESC, n_name;
