-- suppliers per region (reference tables)
SELECT r_name, count(*) AS suppliers, sum(s_acctbal) AS balance
FROM supplier
JOIN nation ON n_nationkey = s_nationkey
JOIN region ON r_regionkey = n_regionkey
GROUP BY r_name
ORDER BY r_name;
