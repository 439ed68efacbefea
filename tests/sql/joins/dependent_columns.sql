-- GROUP BY a primary key takes the table's other columns, wherever the rows of its groups come from.
CREATE TABLE makers (id int PRIMARY KEY, name text, note json, place text);
CREATE TABLE cars (maker_id int, no int, label text, price numeric(10,2), color int, PRIMARY KEY (maker_id, no));
CREATE TABLE sold (id bigint PRIMARY KEY, maker_id int, car_no int, color int, at date);
-- distribute: SELECT create_distributed_table('makers', 'id')
-- distribute: SELECT create_distributed_table('cars', 'maker_id')
-- distribute: SELECT create_distributed_table('sold', 'id')
INSERT INTO makers SELECT i, 'maker ' || i, json_build_object('n', i), chr(64 + i) FROM generate_series(1, 9) i;
INSERT INTO cars SELECT 1 + i % 8, i, 'car ' || i, i * 3.5, i % 4 FROM generate_series(1, 60) i;
INSERT INTO sold SELECT i, 1 + i % 7, i % 60, i % 5, date '2024-01-01' + i FROM generate_series(1, 300) i;
SELECT m.id, m.name, count(*) FROM makers m JOIN sold s ON s.maker_id = m.id GROUP BY m.id ORDER BY m.id;
SELECT m.id, upper(m.name) || m.place, count(s.id) FROM makers m LEFT JOIN sold s ON s.maker_id = m.id GROUP BY m.id ORDER BY m.place DESC;
SELECT m.*, count(s.id) FROM makers m LEFT JOIN sold s ON s.maker_id = m.id GROUP BY m.id ORDER BY m.id;
SELECT m.note, sum(s.color) FROM sold s JOIN makers m ON m.id = s.maker_id GROUP BY m.id ORDER BY m.id;
SELECT m.name, count(*) FROM sold s RIGHT JOIN makers m ON m.id = s.maker_id GROUP BY m.id HAVING m.place > 'C' AND count(*) > 1 ORDER BY 1;
SELECT c.maker_id AS a, c.no AS b, c.label, c.price * count(*) FROM cars c JOIN sold s ON s.car_no = c.no GROUP BY a, 2 ORDER BY 1, 2 LIMIT 10;
SELECT c.label, max(s.at) FROM cars c, sold s WHERE s.color = c.color GROUP BY c.no, c.maker_id ORDER BY 1 LIMIT 7;
SELECT c.label, max(s.at) FROM cars c, sold s WHERE s.color = c.color GROUP BY c.no ORDER BY 1;
SELECT m.id, m.name, c.label, count(*) FROM makers m JOIN cars c ON c.maker_id = m.id JOIN sold s ON s.color = c.color GROUP BY m.id, c.maker_id, c.no ORDER BY 1, 3 LIMIT 10;
SELECT id, name, (SELECT count(*) FROM cars WHERE label > m.name) FROM makers m JOIN sold s USING (id) GROUP BY id, m.id ORDER BY 1;
SELECT m.name, (SELECT max(label) FROM cars c WHERE c.color = length(m.place)) FROM makers m JOIN sold s ON s.maker_id = m.id GROUP BY m.id ORDER BY 1;
SELECT m.name, count(*) FROM makers m JOIN sold s ON s.maker_id = m.id GROUP BY GROUPING SETS ((m.id), (m.id, s.color)) ORDER BY 1, 2;
SELECT * FROM (SELECT m.id, m.name, rank() OVER (ORDER BY count(*) DESC, m.place) FROM makers m JOIN sold s ON s.maker_id = m.id GROUP BY m.id) t WHERE id < 5 ORDER BY 3;
SELECT m.name FROM makers m JOIN sold s ON s.maker_id = m.id GROUP BY m.place;
WITH x AS (SELECT m.id, m.name, array_agg(DISTINCT s.color ORDER BY s.color) AS colors FROM makers m JOIN sold s ON s.maker_id = m.id GROUP BY m.id) SELECT x.name, x.colors, sold.at FROM x JOIN sold ON sold.id = x.id ORDER BY 1;
