//! When a table's aggregates are computed in part before a join: EXPLAIN shows what was chosen, and the answer is the same.

use anyhow::{Result, ensure};
use atoll_tests::client::Client;
use atoll_tests::cluster::{Cluster, ClusterOptions};
use atoll_tests::servers::checks_itself;

#[test]
fn aggregates_are_split_where_that_saves_rows() -> Result<()> {
    if checks_itself() {
        return Ok(());
    }
    let cluster = Cluster::start_with(&ClusterOptions::new(2, 4))?;
    let mut client = Client::connect(cluster.target(), "app")?;
    for sql in [
        "CREATE TABLE fact (id int PRIMARY KEY, few int, many int, n int)",
        "SELECT create_distributed_table('fact', 'id')",
        "INSERT INTO fact SELECT i, i % 50, i, i FROM generate_series(1, 20000) i",
        "CREATE TABLE dim (name text, k int, weight int)",
        "SELECT create_distributed_table('dim', 'name')",
        "INSERT INTO dim SELECT 'name ' || i % 3, i % 40, i FROM generate_series(1, 80) i",
        "ANALYZE fact",
        "ANALYZE dim",
    ] {
        client.execute(sql)?;
    }
    let by_few = "SELECT d.name, count(*), sum(f.n) FROM fact f JOIN dim d ON f.few = d.k GROUP BY d.name ORDER BY 1";
    let by_many = "SELECT d.name, count(*), sum(f.n) FROM fact f JOIN dim d ON f.many = d.k GROUP BY d.name ORDER BY 1";
    let small = "SELECT f.few, count(*), sum(d.weight) FROM fact f JOIN dim d ON f.few = d.k GROUP BY f.few ORDER BY 1";
    let mut answers = Vec::new();
    for (setting, grouped) in [("auto", [true, false, false]), ("always", [true; 3]), ("off", [false; 3])] {
        client.execute(&format!("SET atoll.early_aggregation = '{setting}'"))?;
        for engine in ["auto", "postgres"] {
            client.execute(&format!("SET atoll.merge_engine = '{engine}'"))?;
            for (sql, grouped) in [by_few, by_many, small].into_iter().zip(grouped) {
                let plan = client.execute(&format!("EXPLAIN ANALYZE {sql}"))?;
                ensure!(plan.contains("GROUP BY 1") == grouped, "{setting}, {engine}: {sql}\n{plan}");
                answers.push((sql, client.execute(sql)?));
            }
        }
    }
    for (sql, answer) in &answers {
        ensure!(answers.iter().all(|(other, own)| other != sql || own == answer), "{sql}: {answers:?}");
    }
    Ok(())
}
