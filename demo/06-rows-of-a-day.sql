-- all lines shipped on one day
SELECT l_orderkey, l_linenumber, l_extendedprice, l_shipmode, l_comment
FROM lineitem
WHERE l_shipdate = date '1995-03-15';
