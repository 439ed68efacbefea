CREATE TABLE pb (id int8 PRIMARY KEY, v text);
-- distribute: SELECT create_distributed_table('pb', 'id')
INSERT INTO pb VALUES (1, 'a'), (2, 'b');
SELECT * FROM pb WHERE id = 1;
-- params: 1::int8
-- params: 2
SELECT * FROM pb WHERE id = $1;
DROP TABLE pb;
