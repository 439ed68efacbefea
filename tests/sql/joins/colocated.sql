-- Joins on the distribution key, and with reference tables.
CREATE TABLE jo (id int8 PRIMARY KEY, customer int, total numeric(10,2), status text);
CREATE TABLE jl (order_id int8, line int, product int, qty int, price numeric(10,2), PRIMARY KEY (order_id, line));
CREATE TABLE jp (id int PRIMARY KEY, name text, kind text);
CREATE TABLE jk (kind text PRIMARY KEY, label text);
INSERT INTO jp SELECT i, 'product ' || i, CASE WHEN i % 2 = 0 THEN 'even' ELSE 'odd' END FROM generate_series(1, 10) i;
INSERT INTO jk VALUES ('even', 'Even ones'), ('none', 'No ones');
INSERT INTO jo SELECT i, i % 20, i * 10.5, CASE i % 3 WHEN 0 THEN 'open' WHEN 1 THEN 'shipped' END FROM generate_series(1, 100) i;
INSERT INTO jl SELECT o, l, (o + l) % 12 + 1, l * 2, 1.25 * l FROM generate_series(1, 90) o, generate_series(1, 3) l;
-- distribute: SELECT create_distributed_table('jo', 'id')
-- distribute: SELECT create_distributed_table('jl', 'order_id')
-- distribute: SELECT create_reference_table('jp')
-- distribute: SELECT create_reference_table('jk')
SELECT o.id, l.line, l.qty FROM jo o JOIN jl l ON l.order_id = o.id WHERE o.id = 7 ORDER BY l.line;
SELECT o.id, l.line, p.name, k.label FROM jo o JOIN jl l ON l.order_id = o.id JOIN jp p ON p.id = l.product LEFT JOIN jk k USING (kind) WHERE o.id = 7 ORDER BY l.line;
SELECT o.id, l.line FROM jo o LEFT JOIN jl l ON l.order_id = o.id WHERE o.id = 95;
SELECT count(*) FROM jo o JOIN jl l ON l.order_id = o.id;
SELECT count(*) FROM jo o JOIN jl l ON o.id = l.order_id WHERE o.status = 'open';
SELECT count(*) FROM jo o, jl l WHERE o.id = l.order_id AND l.qty > 2;
SELECT count(*) FROM jo o INNER JOIN jl l ON l.order_id = o.id AND l.line = 1;
SELECT count(*), count(l.line) FROM jo o LEFT JOIN jl l ON l.order_id = o.id;
SELECT count(*), count(o.id) FROM jl l RIGHT JOIN jo o ON l.order_id = o.id;
SELECT count(*) FROM jo o FULL JOIN jl l ON l.order_id = o.id;
SELECT o.status, count(*), sum(l.qty * l.price) FROM jo o JOIN jl l ON l.order_id = o.id GROUP BY o.status ORDER BY 1;
SELECT p.kind, count(*), sum(l.qty) FROM jl l JOIN jp p ON p.id = l.product GROUP BY p.kind ORDER BY 1;
SELECT k.label, sum(l.price) FROM jl l JOIN jp p ON p.id = l.product LEFT JOIN jk k ON k.kind = p.kind GROUP BY k.label ORDER BY 1;
SELECT p.name, sum(l.qty) AS q FROM jo o JOIN jl l ON l.order_id = o.id JOIN jp p ON p.id = l.product WHERE o.customer < 5 GROUP BY p.name HAVING sum(l.qty) > 10 ORDER BY q DESC, p.name LIMIT 3;
SELECT o.id, sum(l.qty) FROM jo o JOIN jl l ON l.order_id = o.id GROUP BY o.id ORDER BY o.id LIMIT 5;
SELECT o.id, l.line, p.name FROM jo o JOIN jl l ON l.order_id = o.id JOIN jp p ON p.id = l.product ORDER BY o.id, l.line LIMIT 10;
SELECT o.* FROM jo o WHERE EXISTS (SELECT 1 FROM jl l WHERE l.order_id = o.id AND l.product = 5) ORDER BY o.id;
SELECT count(*) FROM jo o WHERE NOT EXISTS (SELECT 1 FROM jl l WHERE l.order_id = o.id);
SELECT count(*) FROM jo WHERE id IN (SELECT order_id FROM jl WHERE qty = 4);
SELECT count(*) FROM jl WHERE product IN (SELECT id FROM jp WHERE kind = 'even');
SELECT o.id, (SELECT sum(l.qty) FROM jl l WHERE l.order_id = o.id) AS q FROM jo o ORDER BY o.id LIMIT 5;
SELECT o.id, s.q FROM jo o JOIN (SELECT order_id, sum(qty) AS q FROM jl GROUP BY order_id) s ON s.order_id = o.id ORDER BY o.id LIMIT 5;
SELECT o.id, s.q FROM jo o, LATERAL (SELECT sum(qty) AS q FROM jl l WHERE l.order_id = o.id) s ORDER BY o.id LIMIT 5;
WITH big AS (SELECT * FROM jo WHERE total > 500) SELECT count(*) FROM big b JOIN jl l ON l.order_id = b.id;
SELECT a.id, b.id FROM jo a JOIN jo b ON a.id = b.id WHERE a.id < 4 ORDER BY 1;
SELECT * FROM jo NATURAL JOIN (SELECT order_id AS id, line FROM jl) x ORDER BY id, line LIMIT 4;
SELECT jp.*, jk.* FROM jp LEFT JOIN jk USING (kind) ORDER BY id;
SELECT count(*) FROM jp CROSS JOIN jk;
SELECT jp.name, jo.id FROM jp LEFT JOIN jo ON jo.id = 7 ORDER BY jp.id;
SELECT count(*) FROM jo CROSS JOIN jk;
SELECT count(*) FROM jo JOIN jp ON jp.id = jo.customer;
SELECT count(*) FROM jo LEFT JOIN jp ON jp.id = jo.customer;
-- params: 7::int8
-- params: 95::int8
SELECT o.id, l.line FROM jo o LEFT JOIN jl l ON l.order_id = o.id WHERE o.id = $1 ORDER BY l.line;
-- params: 'open', 2
SELECT count(*), sum(l.qty) FROM jo o JOIN jl l ON l.order_id = o.id WHERE o.status = $1 AND l.qty > $2;
-- Written across tables.
UPDATE jl SET price = price * 2 FROM jo WHERE jo.id = jl.order_id AND jo.id = 7;
SELECT sum(price) FROM jl WHERE order_id = 7;
DELETE FROM jl USING jo WHERE jo.id = jl.order_id AND jo.id = 8;
SELECT count(*) FROM jl WHERE order_id = 8;
INSERT INTO jl (order_id, line, product) SELECT id, 99, 1 FROM jo WHERE id = 9;
SELECT * FROM jl WHERE order_id = 9 ORDER BY line;
DROP TABLE jl, jo, jp, jk;
