//! The planner takes any text: it never panics, and what it splices stays text.

mod fixture;

use atoll_planner::plan::{Plan, Refusal};
use atoll_planner::{Facts, plan, scan};
use fixture::Fixture;
use proptest::prelude::*;

const STATEMENTS: &[&str] = &[
    "SELECT o.id, sum(i.price) AS s FROM orders o LEFT JOIN items i ON i.order_id = o.id WHERE o.id = ANY($1) GROUP BY 1 ORDER BY s LIMIT 5",
    "WITH a AS (SELECT * FROM orders WHERE id IN (1, 2)) SELECT a.*, (SELECT max(price) FROM items WHERE order_id = a.id) FROM a",
    "INSERT INTO public.orders AS o (id, total) VALUES (7, DEFAULT), ($1, 2 + 2) ON CONFLICT (id) DO UPDATE SET total = excluded.total RETURNING *",
    "UPDATE orders SET total = total * 2, qty = CASE WHEN id > 5 THEN 1 ELSE 2 END FROM items WHERE order_id = id AND id = '7'::int",
    "DELETE FROM sales.deals USING nations n WHERE deals.id = n.id AND public.nations.name LIKE 'a%' ESCAPE '!'",
    "COPY orders (id, total) FROM STDIN WITH (FORMAT csv, HEADER match, DELIMITER E'\\t', FORCE_NULL (total))",
    "MERGE INTO orders o USING items i ON o.id = i.order_id WHEN MATCHED AND i.qty > 1 THEN UPDATE SET total = 1 WHEN NOT MATCHED THEN INSERT VALUES (1)",
    "SELECT DISTINCT ON (a) U&\"d\\0061ta\", $tag$ text $tag$, E'\\x41', 1.5e10, -b ^ 2 FROM t /* c /* d */ */ WHERE a::numeric(10,2)[] @> ARRAY[1]",
    "EXPLAIN (ANALYZE, BUFFERS off) SELECT count(*) FILTER (WHERE x) OVER (PARTITION BY y ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM orders",
    "SELECT d.datname, pg_database_size(d.oid) FROM pg_catalog.pg_database d, pg_database, atoll.shards ORDER BY 1; ",
    "DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT * FROM orders FOR UPDATE OF orders SKIP LOCKED",
    "PREPARE p (int, text) AS INSERT INTO serials (name) VALUES ($2)",
    "CREATE TABLE x (a int PRIMARY KEY REFERENCES orders (id), b text DEFAULT 'y')",
    "WITH RECURSIVE r AS (SELECT 1 AS a UNION SELECT a + 1 FROM r) SEARCH DEPTH FIRST BY a SET s CYCLE a SET c TO 1 DEFAULT 0 USING p SELECT U&'!0061' UESCAPE '!' FROM r",
    "SELECT xmlelement(name a, xmlattributes(o.id AS b, total), xmlforest(qty)) FROM orders o, xmltable(XMLNAMESPACES('u' AS x), 'r' PASSING BY REF o.id COLUMNS a int PATH 'p' DEFAULT 1 NOT NULL, n FOR ORDINALITY) x",
    "SELECT * FROM ((orders CROSS JOIN items) NATURAL JOIN nations) AS j (a, b), LATERAL (VALUES (1, j.a)) v, generate_series(1, 2) g (h)",
];

fn check(sql: &str) {
    let fixture = Fixture::new();
    let facts = Facts {
        directory: &fixture.directory,
        catalog: &fixture.catalog,
        search_path: &fixture.search_path,
        views: &fixture.views,
    };
    if let Plan::Refuse(Refusal { position: Some(position), .. }) = plan(sql, &facts) {
        assert!(sql.is_char_boundary(position), "{position} in {sql}");
    }
    for range in scan::split(sql) {
        plan(&sql[range], &facts);
    }
}

fn pieces() -> impl Strategy<Value = String> {
    let tokens: Vec<String> = STATEMENTS
        .iter()
        .flat_map(|sql| scan::tokens(sql).into_iter().map(|token| token.span.of(sql).to_owned()))
        .collect();
    prop::collection::vec(prop::sample::select(tokens), 0..40).prop_map(|tokens| tokens.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_text(sql in "\\PC{0,80}") {
        check(&sql);
    }

    #[test]
    fn shuffled_tokens(sql in pieces()) {
        check(&sql);
    }

    #[test]
    fn damaged_statements(
        index in 0..STATEMENTS.len(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), "\\PC{0,3}"), 1..4),
    ) {
        let mut sql: Vec<char> = STATEMENTS[index].chars().collect();
        for (from, length, replacement) in cuts {
            if sql.is_empty() {
                break;
            }
            let from = from.index(sql.len());
            let to = (from + length.index(8)).min(sql.len());
            sql.splice(from..to, replacement.chars());
        }
        check(&sql.into_iter().collect::<String>());
    }

    #[test]
    fn moved_tokens(
        index in 0..STATEMENTS.len(),
        moves in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..6),
    ) {
        let sql = STATEMENTS[index];
        let mut tokens: Vec<&str> = scan::tokens(sql).iter().map(|token| token.span.of(sql)).collect();
        for (from, to) in moves {
            let (from, to) = (from.index(tokens.len()), to.index(tokens.len()));
            let token = tokens.remove(from);
            tokens.insert(to, token);
        }
        check(&tokens.join(" "));
    }
}

#[test]
fn statements_themselves() {
    STATEMENTS.iter().for_each(|sql| check(sql));
}
