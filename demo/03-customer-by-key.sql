-- one customer and its nation
SELECT c_name, c_acctbal, n_name
FROM customer
JOIN nation ON n_nationkey = c_nationkey
WHERE c_custkey = 1500;
