-- value of stock per brand (parts and offers)
SELECT p_brand, sum(ps_supplycost * ps_availqty) AS value, count(*) AS offers
FROM part
JOIN partsupp ON ps_partkey = p_partkey
WHERE p_size BETWEEN 10 AND 20
GROUP BY p_brand
ORDER BY p_brand;
