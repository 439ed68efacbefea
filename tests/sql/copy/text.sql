-- COPY in text and CSV, to and from every kind of table.
CREATE TABLE ct (id int8 PRIMARY KEY, v text, n numeric(10,2), d date);
CREATE TABLE ctr (id int PRIMARY KEY, v text);
CREATE TABLE ctu (id int PRIMARY KEY, v text);
-- distribute: SELECT create_distributed_table('ct', 'id')
-- distribute: SELECT create_reference_table('ctr')
COPY ct FROM STDIN;
1	one	1.50	2020-01-01
2	\N	\N	\N
3	tab\there	3	2020-02-29
4	back\\slash	4	infinity
5	new\nline	5	2020-01-01
6		6	2020-01-01
7	ünïcödé ☃	7	2020-01-01
8	\x41\101	8	2020-01-01
\.
SELECT * FROM ct ORDER BY id;
SELECT * FROM ct WHERE id = 7;
COPY ct TO STDOUT;
COPY (SELECT * FROM ct ORDER BY id) TO STDOUT;
COPY ct (v, id) TO STDOUT;
COPY (SELECT count(*), sum(n) FROM ct) TO STDOUT;
COPY (SELECT v FROM ct WHERE id = 3) TO STDOUT;
COPY (SELECT 1, NULL, 'x') TO STDOUT WITH (NULL 'nil', DELIMITER '|');
COPY ct (id, v) FROM STDIN;
10	ten
11	eleven
\.
COPY ct (v, id) FROM STDIN WITH (FORMAT csv);
twelve,12
"quoted, with ""quotes""",13
"multi
line",14
,15
"",16
\.
COPY ct (id, v) FROM STDIN WITH (FORMAT csv, HEADER, DELIMITER ';', NULL 'nil', QUOTE '''');
id;v
20;'it''s'
21;nil
22;'nil'
\.
COPY ct (id, v) FROM STDIN CSV HEADER;
id,v
23,x
\.
COPY ct (id, v) FROM STDIN WITH (DELIMITER ',', NULL '');
24,x
25,
\.
COPY ct (id, v) FROM STDIN WITH (FORMAT csv, FORCE_NOT_NULL (v));
26,
\.
COPY ct (id, v) FROM STDIN WITH (FORMAT csv, HEADER MATCH);
id,v
27,x
\.
-- words-differ
COPY ct (id, v) FROM STDIN WITH (FORMAT csv, HEADER MATCH);
id,w
28,x
\.
COPY ct (id, v) FROM STDIN WHERE id % 2 = 0;
30	x
31	y
32	z
\.
SELECT * FROM ct ORDER BY id;
COPY ct TO STDOUT WITH (FORMAT csv);
COPY ct (id, v) TO STDOUT WITH (FORMAT csv, FORCE_QUOTE *, DELIMITER ';');
COPY (SELECT * FROM ct WHERE id < 5 ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER);
COPY (SELECT v, sum(n) FROM ct GROUP BY v ORDER BY v LIMIT 4) TO STDOUT CSV;
COPY ctr FROM STDIN;
1	one
2	two
\.
COPY ctu FROM STDIN;
1	one
2	two
\.
SELECT * FROM ctr ORDER BY id;
SELECT ct.id, ctr.v FROM ct JOIN ctr ON ctr.id = ct.id ORDER BY 1;
COPY ctr TO STDOUT;
COPY ctu TO STDOUT;
-- Nothing at all.
COPY ct FROM STDIN;
\.
-- Errors.
COPY ct (id, v) FROM STDIN;
1	dup
\.
-- words-differ
COPY ct (id, v) FROM STDIN;
100	ok
x	bad
101	ok
\.
COPY ct FROM STDIN;
102	x
\.
COPY ct (id, v) FROM STDIN;
103	x	extra
\.
-- words-differ
COPY ct (id, v) FROM STDIN;
\N	no key
\.
COPY ct (id, n) FROM STDIN;
104	12345678901
\.
COPY ct (id, d) FROM STDIN;
105	2021-02-30
\.
-- words-differ
COPY ct (v) FROM STDIN;
no key
\.
COPY ct (id, nope) FROM STDIN;
1	2
\.
COPY nope FROM STDIN;
1	2
\.
COPY ct (id, id) FROM STDIN;
1	1
\.
COPY nope TO STDOUT;
-- exact-or-refused
COPY ct TO '/no/such/folder/file';
-- exact-or-refused
COPY ct FROM STDIN (FORMAT nope);
\.
-- words-differ
COPY ct TO STDOUT (DELIMITER 'xx');
SELECT count(*) FROM ct;
-- In transactions.
BEGIN;
COPY ct (id, v) FROM STDIN;
200	a
201	b
202	c
203	d
\.
SELECT count(*) FROM ct WHERE id >= 200;
ROLLBACK;
SELECT count(*) FROM ct WHERE id >= 200;
BEGIN;
COPY ct (id, v) FROM STDIN;
200	a
201	b
\.
COPY ct (id, v) FROM STDIN;
202	c
203	d
\.
UPDATE ct SET v = 'updated' WHERE id = 202;
COMMIT;
SELECT id, v FROM ct WHERE id >= 200 ORDER BY id;
BEGIN;
COPY ct (id, v) FROM STDIN;
200	dup
\.
SELECT 1;
ROLLBACK;
BEGIN;
TRUNCATE ct;
COPY ct (id, v) FROM STDIN WITH (FREEZE);
1	frozen
2	frozen
3	frozen
\.
COMMIT;
SELECT * FROM ct ORDER BY id;
COPY ct (id, v) FROM STDIN WITH (FREEZE);
4	x
\.
COPY ct (id, v) FROM STDIN\; SELECT 1;
300	x
\.
DROP TABLE ct, ctr, ctu;
-- Defaults and serials.
CREATE TABLE cs (id bigserial PRIMARY KEY, v text, d text DEFAULT 'dflt');
-- distribute: SELECT create_distributed_table('cs', 'id')
COPY cs (v) FROM STDIN;
a
b
c
\.
SELECT * FROM cs ORDER BY id;
COPY cs (id, v) FROM STDIN;
100	x
\.
SELECT * FROM cs ORDER BY id;
DROP TABLE cs;
-- Keys of text.
CREATE TABLE ck (k text PRIMARY KEY, v int);
-- distribute: SELECT create_distributed_table('ck', 'k')
COPY ck FROM STDIN;
a	1
A	2
a\tb	3
	4
ünï	5
\\.x	6
\.
SELECT * FROM ck ORDER BY v;
SELECT v FROM ck WHERE k = E'a\tb';
SELECT v FROM ck WHERE k = '';
SELECT v FROM ck WHERE k = '\.x';
COPY ck FROM STDIN CSV;
"a,b",10
" sp ",11
\.
SELECT v FROM ck WHERE k = 'a,b';
SELECT v FROM ck WHERE k = ' sp ';
DROP TABLE ck;
