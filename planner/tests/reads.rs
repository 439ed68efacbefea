//! Which statements provably change nothing.

mod fixture;

use atoll_planner::directory::TableName;
use atoll_planner::plan::{OwnFunction, Plan};
use atoll_planner::{Facts, only_reads, plan};
use fixture::Fixture;

fn facts(fixture: &Fixture) -> Facts<'_> {
    let Fixture { directory, catalog, search_path, views } = fixture;
    Facts { directory, catalog, search_path, views }
}

#[test]
fn only_queries_without_effects_are_asked_again() {
    let mut fixture = Fixture::new();
    let mut acting = fixture.catalog.relations[&TableName::new("public", "plain")].clone();
    acting.acts = true;
    fixture.catalog.relations.insert(TableName::new("public", "acting"), acting);
    for (sql, expected) in [
        ("SELECT * FROM orders WHERE id = 7", true),
        ("SELECT count(*), sum(total) FROM orders;", true),
        ("WITH a AS (SELECT id FROM orders) SELECT * FROM a JOIN nations ON true", true),
        ("VALUES (1), (2)", true),
        ("SELECT random(), now() FROM plain", true),
        ("SELECT pure(1) FROM plain", true),
        ("SELECT * FROM order_view", true),
        ("SELECT pg_sleep(1)", true),
        ("SELECT count(*) FROM pg_class", true),
        ("SELECT nextval('s')", false),
        ("SELECT pg_notify('c', 'x')", false),
        ("SELECT txid_current()", false),
        ("SELECT pg_current_xact_id_if_assigned()", true),
        ("SELECT last_value FROM s", false),
        ("SELECT * FROM plain, acting", false),
        ("SELECT pg_advisory_lock(1)", false),
        ("SELECT set_config('work_mem', '1MB', false)", false),
        ("SELECT * FROM orders WHERE id = 7 FOR UPDATE", false),
        ("SELECT * INTO copy FROM plain", false),
        ("WITH gone AS (DELETE FROM plain RETURNING *) SELECT * FROM gone", false),
        ("SELECT * FROM not_there", false),
        ("INSERT INTO plain VALUES (1)", false),
        ("EXPLAIN ANALYZE DELETE FROM plain", false),
        ("SHOW work_mem", false),
        ("", false),
        ("SELECT (", false),
    ] {
        assert_eq!(only_reads(sql, &facts(&fixture)), expected, "{sql}");
    }
}

#[test]
fn calls_that_the_coordinator_answers_stand_alone() {
    let fixture = Fixture::new();
    let planned = plan("SELECT atoll.transaction_status($1) AS it", &facts(&fixture));
    let Plan::Own(own) = planned else { panic!("{planned:?}") };
    assert_eq!((own.function, own.column.as_str()), (OwnFunction::TransactionStatus, "it"));
    assert_eq!(own.arguments, ["$1"]);
    let token = plan("select atoll.session_token();", &facts(&fixture));
    assert!(matches!(token, Plan::Own(own) if own.column == "session_token"));
    for sql in ["SELECT atoll.session_token(1)", "SELECT atoll.session_token() FROM plain", "SELECT session_token()"] {
        assert!(!matches!(plan(sql, &facts(&fixture)), Plan::Own(_)), "{sql}");
    }
}
