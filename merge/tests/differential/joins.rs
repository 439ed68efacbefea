//! Joins, over every type that has keys, at its edges.

use anyhow::{Context, Result, ensure};
use atoll_merge::PgType;
use atoll_merge::verified;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::lab::{Lab, Ours, TextRow};
use crate::values;

/// `name type` of a column.
fn declared(name: &str, ty: PgType) -> String {
    let ty = match ty {
        PgType::Bpchar => "char(6)".to_owned(),
        ty => ty.name().to_owned(),
    };
    format!("{name} {ty}")
}

/// Rows of one key each, most of which come on both sides, and several times; NULLs among them.
fn keyed(ty: PgType, random: &mut StdRng, rows: usize) -> Vec<TextRow> {
    let edges = values::edges(ty);
    let key = |random: &mut StdRng| match random.random_range(0..10) {
        0 => None,
        1 => Some(values::ordinary(ty, random)),
        _ => Some(edges[random.random_range(0..edges.len())].to_owned()),
    };
    (0..rows).map(|_| vec![key(random), Some(random.random_range(0..5).to_string())]).collect()
}

fn load_pair(lab: &mut Lab, left: PgType, right: PgType, random: &mut StdRng) -> Result<()> {
    lab.others.clear();
    lab.sql("DROP TABLE IF EXISTS g")?;
    let rows = keyed(right, random, 40);
    lab.load(&[&declared("k", right), "v int"], &rows)?;
    lab.keep_as("g")?;
    let rows = keyed(left, random, 60);
    lab.load(&[&declared("k", left), "v int"], &rows)
}

const PAIRS: &[&str] = &[
    "SELECT f.n, g.n AS m, f.k, g.k AS l FROM f JOIN g ON f.k = g.k ORDER BY 1, 2",
    "SELECT f.n, g.n AS m FROM f, g WHERE f.k = g.k AND f.v < g.v ORDER BY 1, 2",
    "SELECT f.n, g.n AS m, g.k FROM f LEFT JOIN g ON f.k = g.k AND f.v >= g.v ORDER BY 1, 2",
    "SELECT f.n, g.n AS m, f.k FROM f RIGHT JOIN g ON g.k = f.k AND g.v > 1 ORDER BY 1, 2",
    "SELECT f.n, g.n AS m FROM f FULL JOIN g ON f.k = g.k AND f.v = g.v ORDER BY 1, 2",
    "SELECT n FROM f WHERE EXISTS (SELECT FROM g WHERE g.k = f.k) ORDER BY n",
    "SELECT n FROM f WHERE EXISTS (SELECT 1 FROM g WHERE g.k = f.k AND g.v <> f.v AND g.v > 0) AND v < 4 ORDER BY n",
    "SELECT n FROM f WHERE NOT EXISTS (SELECT * FROM g WHERE g.k = f.k AND g.v <> f.v) ORDER BY n",
    "SELECT n FROM f WHERE k IN (SELECT k FROM g WHERE v > 1) ORDER BY n",
    "SELECT n FROM f WHERE k IN (SELECT g.k FROM g WHERE g.v = f.v) AND v IS NOT NULL ORDER BY n",
    "SELECT f.v, count(*), count(g.k) FROM f LEFT JOIN g ON f.k = g.k GROUP BY f.v ORDER BY 1",
];

#[test]
fn keys_of_every_type() -> Result<()> {
    let mut lab = Lab::start()?;
    let mut random = StdRng::seed_from_u64(71);
    for ty in verified::ORDERED {
        load_pair(&mut lab, *ty, *ty, &mut random)?;
        for sql in PAIRS {
            lab.compare(sql, 3, true).map_err(|error| error.context(format!("keys of type {}", ty.name())))?;
        }
    }
    Ok(())
}

#[test]
fn keys_of_two_types() -> Result<()> {
    use PgType::{Bpchar, Float4, Float8, Int2, Int4, Int8, Name, Numeric, Text, Varchar};
    let mut lab = Lab::start()?;
    let mut random = StdRng::seed_from_u64(72);
    let numbers = [Int2, Int4, Int8, Numeric, Float4, Float8];
    let mut pairs: Vec<(PgType, PgType)> =
        numbers.iter().flat_map(|left| numbers.iter().map(move |right| (*left, *right))).collect();
    pairs.extend([(Text, Varchar), (Varchar, Text), (Text, Bpchar), (Varchar, Bpchar), (Name, Text)]);
    let mut answered = 0;
    for (left, right) in pairs.into_iter().filter(|(left, right)| left != right) {
        load_pair(&mut lab, left, right, &mut random)?;
        for sql in PAIRS {
            let taken = lab.compare_if_taken(sql, 2);
            answered +=
                usize::from(taken.with_context(|| format!("keys of types {} and {}", left.name(), right.name()))?);
        }
    }
    ensure!(answered > 200, "only {answered} were answered");
    Ok(())
}

fn orders(lab: &mut Lab, random: &mut StdRng) -> Result<()> {
    let number = |random: &mut StdRng, below: u32| Some(random.random_range(0..below).to_string());
    let people: Vec<TextRow> = (0..30)
        .map(|id| {
            vec![Some(id.to_string()), Some(format!("p{}", id % 7)), number(random, 4).filter(|zone| zone != "3")]
        })
        .collect();
    lab.load(&["id int8", "name text", "zone int"], &people)?;
    lab.keep_as("people")?;
    let zones: Vec<TextRow> = (0..4).map(|id| vec![Some(id.to_string()), Some(format!("z{id}"))]).collect();
    lab.load(&["id int", "label varchar(5)"], &zones)?;
    lab.keep_as("zones")?;
    let rows: Vec<TextRow> = (0..200)
        .map(|id| {
            let amount = format!("{}.{:02}", random.random_range(0..99), random.random_range(0..100));
            vec![Some(id.to_string()), number(random, 40), Some(amount), number(random, 3)]
        })
        .collect();
    lab.load(&["id int", "person int", "amount numeric(8,2)", "state int"], &rows)
}

#[test]
fn whole_queries() -> Result<()> {
    let mut lab = Lab::start()?;
    let mut random = StdRng::seed_from_u64(73);
    orders(&mut lab, &mut random)?;
    for sql in [
        "SELECT p.name, sum(o.amount * (1 - 0.05)) AS total, count(*) FROM f AS o, people p, zones z WHERE o.person = p.id AND p.zone = z.id AND z.label = 'z1' GROUP BY p.name ORDER BY total DESC, 1",
        "SELECT z.label, count(o.id) FROM zones z LEFT JOIN people p ON p.zone = z.id LEFT JOIN f o ON o.person = p.id GROUP BY z.label ORDER BY 1",
        "SELECT z.label, count(o.id) FROM f o RIGHT JOIN (people p JOIN zones z ON p.zone = z.id) ON o.person = p.id AND o.state = 1 GROUP BY 1 ORDER BY 1",
        "SELECT o.id, p.* FROM f o JOIN people p ON p.id = o.person AND p.zone <> o.state ORDER BY o.id",
        "SELECT * FROM people p JOIN zones z ON z.id = p.zone ORDER BY p.id",
        "SELECT count(*) FROM f o FULL JOIN people p ON p.id = o.person WHERE p.id IS NULL OR o.id IS NULL",
        "SELECT a.id, b.id FROM (SELECT id, person FROM f WHERE state = 0) a, people b WHERE a.person = b.id AND (a.id < 50 OR b.zone = 2) ORDER BY 1, 2",
        "SELECT t.person, p.name, t.total FROM (SELECT person, sum(amount) AS total FROM f GROUP BY person HAVING sum(amount) > 200) t JOIN people p ON p.id = t.person ORDER BY t.total DESC, 1 LIMIT 5",
        "SELECT p.name FROM people p WHERE p.id IN (SELECT person FROM f GROUP BY person HAVING count(*) > 5) ORDER BY p.id",
        "SELECT DISTINCT z.label FROM zones z, people p WHERE z.id = p.zone AND NOT EXISTS (SELECT 1 FROM f WHERE f.person = p.id AND state = 2) ORDER BY 1",
        "SELECT count(*) FROM people p, zones z WHERE p.zone = z.id AND EXISTS (SELECT 1 FROM f WHERE person = p.id AND amount > 50) AND z.id > 0",
        "SELECT p.id, CASE WHEN z.id IS NULL THEN 'none' ELSE z.label END AS l FROM people p LEFT JOIN zones z ON z.id = p.zone WHERE p.id < 20 ORDER BY 2, 1",
        "WITH big AS (SELECT person, amount FROM f WHERE amount > 40) SELECT p.name, max(big.amount) FROM big JOIN people AS p ON big.person = p.id GROUP BY p.name ORDER BY p.name",
        "SELECT id FROM people WHERE EXISTS (SELECT 1 FROM f WHERE person = people.id) AND EXISTS (SELECT 1 FROM zones WHERE zones.id = zone) ORDER BY id",
        "SELECT p.id FROM people p JOIN zones z ON p.zone = z.id AND true WHERE 1 = 1 AND NULL IS NULL ORDER BY 1 OFFSET 3",
        "SELECT p.id FROM people p JOIN zones z ON p.zone = z.id WHERE 1 = 2",
        "SELECT max(n) FROM f WHERE n IN (SELECT n FROM people)",
        "SELECT sum(o.amount) FROM f o, people p WHERE (p.id = o.person AND o.state = 1 AND p.zone > 0) OR (o.state = 2 AND p.id = o.person AND p.name < 'p3')",
    ] {
        lab.compare(sql, 3, true)?;
    }
    for sql in [
        "((SELECT id FROM people) ORDER BY id DESC) LIMIT 2",
        // Joined by no equality, by columns that USING merges, by more than rows, with NULLs that NOT IN looks at, and with errors that
        // depend on PostgreSQL's plan.
        "SELECT count(*) FROM people, zones",
        "SELECT count(*) FROM people p JOIN zones z ON p.zone < z.id",
        "SELECT count(*) FROM people JOIN zones USING (id)",
        "SELECT count(*) FROM people NATURAL JOIN zones",
        "SELECT count(*) FROM people CROSS JOIN zones",
        "SELECT count(*) FROM people p LEFT JOIN zones z ON p.zone > z.id",
        "SELECT count(*) FROM people WHERE EXISTS (SELECT count(*) FROM f WHERE f.person = people.id)",
        "SELECT count(*) FROM people WHERE EXISTS (SELECT 1 FROM f WHERE f.person = people.id LIMIT 0)",
        "SELECT count(*) FROM people WHERE EXISTS (SELECT 1 FROM f)",
        "SELECT count(*) FROM people WHERE zone NOT IN (SELECT id FROM zones)",
        "SELECT count(*) FROM people WHERE NOT zone IN (SELECT id FROM zones)",
        "SELECT count(*) FROM people WHERE zone = 1 OR EXISTS (SELECT 1 FROM zones WHERE zones.id = zone)",
        "SELECT count(*) FROM people p JOIN zones z ON p.zone = z.id WHERE 1 / z.id > 0",
        "SELECT count(*) FROM people p JOIN (SELECT 1 / id AS i FROM zones) z ON p.zone = z.i",
        "SELECT count(*) FROM f a JOIN f b ON a.id = b.id",
    ] {
        let ours = lab.ours(sql, 2);
        ensure!(matches!(ours, Ours::Refused(_)), "{ours:?}\n  in {sql}");
    }
    Ok(())
}

/// Random trees of joins over the three tables.
#[test]
fn generated() -> Result<()> {
    let mut lab = Lab::start()?;
    let mut random = StdRng::seed_from_u64(74);
    orders(&mut lab, &mut random)?;
    let kinds = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"];
    let more =
        ["", " AND o.state = 1", " AND p.zone > 0", " AND p.id % 2 = o.state", " AND p.name < 'p4'", " AND z.id <> 2"];
    let filters = [
        "true",
        "o.state IS NULL OR o.amount > 20",
        "p.id = o.person",
        "z.label IS NOT NULL",
        "EXISTS (SELECT 1 FROM zones2 y WHERE y.id = p.zone)",
        "NOT EXISTS (SELECT 1 FROM zones2 y WHERE y.id = o.state AND y.label <> z.label)",
        "o.state IN (SELECT id FROM zones2 WHERE id > p.zone)",
    ];
    let zones: Vec<TextRow> = (0..3).map(|id| vec![Some(id.to_string()), Some(format!("z{}", id + 1))]).collect();
    lab.sql("ALTER TABLE f RENAME TO kept")?;
    let (kept, rows) = (lab.input.clone(), std::mem::take(&mut lab.rows));
    lab.load(&["id int", "label varchar(5)"], &zones)?;
    lab.keep_as("zones2")?;
    lab.sql("ALTER TABLE kept RENAME TO f")?;
    (lab.input, lab.rows) = (kept, rows);
    let mut answered = 0;
    for _ in 0..300 {
        let (one, two) = (kinds[random.random_range(0..4)], kinds[random.random_range(0..4)]);
        let first = more[random.random_range(0..5)].replace(" % 2", "");
        let second = more[random.random_range(0..6)].replace(" % 2", "");
        let filter = filters[random.random_range(0..filters.len())];
        let from = match random.random_range(0..3) {
            0 => format!(
                "f o {one} people p ON o.person = p.id{} {two} zones z ON z.id = p.zone{second}",
                first.replace("z.id <> 2", "true")
            ),
            1 => format!(
                "f o {one} (people p {two} zones z ON z.id = p.zone{}) ON p.id = o.person{first}",
                second.replace("o.state = 1", "true").replace("p.id = o.state", "true")
            ),
            _ => format!("f o, people p, zones z WHERE o.person = p.id AND p.zone = z.id{first}{second}"),
        };
        let word = if from.contains("WHERE") { "AND" } else { "WHERE" };
        let sql = format!(
            "SELECT o.id, p.id, z.id, p.name, z.label, o.amount FROM {from} {word} {} ORDER BY 1, 2, 3",
            if filter.contains(" OR ") { format!("({filter})") } else { filter.to_owned() }
        );
        answered += usize::from(lab.compare_if_taken(&sql, 2)?);
    }
    ensure!(answered > 200, "only {answered} were answered");
    Ok(())
}
