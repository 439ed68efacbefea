-- customers per segment
SELECT c_mktsegment, count(*), avg(c_acctbal), min(c_acctbal), max(c_acctbal)
FROM customer
GROUP BY c_mktsegment
ORDER BY c_mktsegment;
