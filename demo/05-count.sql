-- count of all lines
SELECT count(*) FROM lineitem;
