//! How long planning takes: `cargo run --release --example time_plans`.

#[path = "../tests/fixture/mod.rs"]
mod fixture;

use std::hint::black_box;
use std::time::Instant;

use atoll_planner::{Facts, plan};

fn main() {
    let fixture = fixture::Fixture::new();
    let facts = Facts {
        directory: &fixture.directory,
        catalog: &fixture.catalog,
        search_path: &fixture.search_path,
        views: &fixture.views,
    };
    for sql in [
        "SELECT total FROM orders WHERE id = 4711",
        "SELECT total FROM orders WHERE id = $1",
        "UPDATE orders SET total = total + $1 WHERE id = $2",
        "INSERT INTO orders (id, customer, total, status) VALUES ($1, $2, $3, $4)",
        "SELECT * FROM plain WHERE id = 1",
        "BEGIN",
        "SELECT status, count(*), sum(total), avg(qty) FROM orders o JOIN items i ON i.order_id = o.id GROUP BY status ORDER BY 2 DESC LIMIT 10",
    ] {
        let rounds = 20_000;
        let start = Instant::now();
        for _ in 0..rounds {
            black_box(plan(black_box(sql), &facts));
        }
        println!("{:>8.2} us  {sql}", start.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));
    }
}
