//! Fragments on a lane: rows as Arrow, in every format, and what becomes of errors.

mod common;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use atoll_proto::v1::{ColumnFormat, Fragment, Parameter};
use atoll_wire::backend::{decode, tag};
use atoll_wire::frontend;
use atoll_wire::rows::IpcReader;
use bytes::BytesMut;
use common::{Agent, Lane, error_of, tags};

fn fragment(sql: &str) -> Fragment {
    Fragment { sql: sql.into(), ..Fragment::default() }
}

fn batches(reader: &mut IpcReader) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        batches.push(batch);
    }
    reader.finish().unwrap();
    batches
}

#[tokio::test]
async fn rows_come_as_arrow_in_every_format() {
    let agent = Agent::start(10).await;
    let mut lane = Lane::new(&agent).await;
    let sql = "SELECT $1::int4 + 1 AS a, $2::text AS b, 2.5::float8 AS c, 12.50::numeric AS d, $3::int8 AS e";
    let parameters = vec![
        Parameter { type_oid: 23, binary: true, null: false, value: 41i32.to_be_bytes().to_vec().into() },
        Parameter { type_oid: 0, binary: false, null: false, value: "text".into() },
        Parameter { type_oid: 20, binary: false, null: true, ..Parameter::default() },
    ];
    for _ in 0..2 {
        // The second time it is prepared already.
        let run = Fragment { parameters: parameters.clone(), ..fragment(sql) };
        let (mut reader, done) = lane.fragment(run).await;
        assert!(done.error_frame.is_empty(), "{:?}", error_of(&done.error_frame));
        assert_eq!((done.rows, done.transaction_status), (1, u32::from(b'I')));
        let batches = batches(&mut reader);
        assert_eq!(batches.len(), 1);
        let row = &batches[0];
        assert_eq!(row.schema().fields().iter().map(|f| f.name().as_str()).collect::<String>(), "abcde");
        assert_eq!(row.column(0).as_primitive::<Int32Type>().value(0), 42);
        assert_eq!(row.column(1).as_string::<i32>().value(0), "text");
        assert_eq!(row.column(2).as_primitive::<Float64Type>().value(0), 2.5);
        assert!(row.column(4).as_primitive::<Int64Type>().is_null(0));
    }
    let formats = [ColumnFormat::RawText, ColumnFormat::RawBinary, ColumnFormat::Typed, ColumnFormat::RawText];
    let formats = formats.into_iter().chain([ColumnFormat::RawBinary]).map(i32::from).collect();
    let run = Fragment { parameters, column_formats: formats, ..fragment(sql) };
    let (mut reader, done) = lane.fragment(run).await;
    assert!(done.error_frame.is_empty());
    let row = &batches(&mut reader)[0];
    assert_eq!(row.column(0).as_binary::<i32>().value(0), b"42");
    assert_eq!(row.column(1).as_binary::<i32>().value(0), b"text");
    assert_eq!(row.column(3).as_binary::<i32>().value(0), b"12.50");
    assert!(row.column(4).is_null(0));
    let prepared = lane.ask("SELECT count(*) FROM pg_prepared_statements").await;
    assert_eq!(prepared, "1");
}

#[tokio::test]
async fn results_of_any_size() {
    let agent = Agent::start(10).await;
    let mut lane = Lane::new(&agent).await;
    let (mut reader, done) = lane.fragment(fragment("SELECT 1 AS a WHERE false")).await;
    assert_eq!(done.rows, 0);
    assert!(batches(&mut reader).is_empty());
    assert_eq!(reader.schema().unwrap().field(0).name(), "a");

    let sql = "SELECT i::int8, repeat('x', 100) FROM generate_series(1, 100000) i";
    let (mut reader, done) = lane.fragment(fragment(sql)).await;
    assert_eq!(done.rows, 100_000);
    let batches = batches(&mut reader);
    assert!(batches.len() > 5, "{} batches", batches.len());
    let sum: i64 = batches.iter().map(|b| b.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>()).sum();
    assert_eq!(sum, 100_000 * 100_001 / 2);

    let (mut reader, done) = lane.fragment(fragment("SELECT repeat('y', 20000000)")).await;
    assert_eq!(done.rows, 1);
    let mut all = Vec::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        all.push(batch);
    }
    assert_eq!(all[0].column(0).as_string::<i32>().value(0).len(), 20_000_000);

    let (_, done) = lane.fragment(fragment("CREATE TABLE t AS SELECT generate_series(1, 7) AS a")).await;
    assert!(done.error_frame.is_empty());
    let (_, done) = lane.fragment(fragment("UPDATE t SET a = 0 WHERE a > 2")).await;
    assert_eq!(done.rows, 5);
}

#[tokio::test]
async fn errors_and_transactions() {
    let agent = Agent::start(10).await;
    let mut lane = Lane::new(&agent).await;
    let (_, done) = lane.fragment(fragment("SELEC 1")).await;
    assert_eq!(error_of(&done.error_frame).0, "42601");
    let (_, done) = lane.fragment(fragment("SELECT 1/(3 - i) FROM generate_series(1, 5) i")).await;
    assert_eq!(error_of(&done.error_frame).0, "22012");
    assert_eq!(done.transaction_status, u32::from(b'I'));
    let (_, done) = lane.fragment(fragment("COPY (SELECT 1) TO STDOUT")).await;
    assert_eq!(error_of(&done.error_frame).0, "0A000");
    lane.query("CREATE TABLE c (a int)").await;
    let (_, done) = lane.fragment(fragment("COPY c FROM STDIN")).await;
    assert_eq!(error_of(&done.error_frame).0, "57014");

    lane.query("BEGIN").await;
    let (_, done) = lane.fragment(fragment("SELECT 1")).await;
    assert_eq!(done.transaction_status, u32::from(b'T'));
    let (_, done) = lane.fragment(fragment("SELECT 1/0")).await;
    assert_eq!(done.transaction_status, u32::from(b'E'));
    assert_eq!(tags(&lane.query("ROLLBACK").await), "CZ");

    let noisy = "DO $$BEGIN RAISE NOTICE 'hear me'; END$$";
    let (_, done) = lane.fragment(fragment(noisy)).await;
    assert!(done.error_frame.is_empty());
    let notice = decode::error_fields(&done.notice_frames[5..]).unwrap();
    assert_eq!(notice.message(), "hear me");
}

#[tokio::test]
async fn prepared_fragments_survive_changes() {
    let agent = Agent::start(10).await;
    let mut lane = Lane::new(&agent).await;
    lane.query("CREATE TABLE t (a int); INSERT INTO t VALUES (1)").await;
    let columns = async |lane: &mut Lane| {
        let (mut reader, done) = lane.fragment(fragment("SELECT * FROM t")).await;
        assert!(done.error_frame.is_empty(), "{:?}", error_of(&done.error_frame));
        batches(&mut reader)[0].num_columns()
    };
    assert_eq!(columns(&mut lane).await, 1);
    lane.query("ALTER TABLE t ADD b int").await;
    assert_eq!(columns(&mut lane).await, 2);
    lane.query("DISCARD ALL").await;
    assert_eq!(columns(&mut lane).await, 2);
    lane.query("DEALLOCATE atoll_f3").await;
    assert_eq!(columns(&mut lane).await, 2);

    // Inside a transaction the error is the caller's to see, and the next try prepares anew.
    lane.query("ALTER TABLE t ADD c int").await;
    lane.query("BEGIN").await;
    let inside = Fragment { in_transaction: true, ..fragment("SELECT * FROM t") };
    let (_, done) = lane.fragment(inside).await;
    assert_eq!(error_of(&done.error_frame).0, "0A000");
    lane.query("ROLLBACK").await;
    lane.query("ALTER TABLE t DROP c").await;
    lane.query("BEGIN").await;
    let inside = Fragment { in_transaction: true, version: 2, ..fragment("SELECT * FROM t") };
    let (mut reader, done) = lane.fragment(inside).await;
    assert!(done.error_frame.is_empty(), "{:?}", error_of(&done.error_frame));
    assert_eq!(batches(&mut reader)[0].num_columns(), 2);
    lane.query("ROLLBACK; ALTER TABLE t ADD c int").await;
    lane.query("ROLLBACK").await;
    lane.query("BEGIN").await;
    assert_eq!(columns(&mut lane).await, 3);
    lane.query("COMMIT").await;

    for number in 0..100 {
        let (_, done) = lane.fragment(fragment(&format!("SELECT {number}"))).await;
        assert_eq!(done.rows, 1);
    }
    let prepared: u32 = lane.ask("SELECT count(*) FROM pg_prepared_statements").await.parse().unwrap();
    assert!(prepared <= 65, "{prepared} prepared statements");
}

#[tokio::test]
async fn a_fragment_after_a_copy_whose_sync_came_early() {
    let agent = Agent::start(10).await;
    let mut lane = Lane::new(&agent).await;
    lane.query("CREATE TABLE c (a int)").await;
    // As libpq does it: Sync together with Execute, ignored in the middle of the COPY, and once more after it.
    let mut packet = BytesMut::new();
    frontend::parse("", "COPY c FROM STDIN", &[], &mut packet);
    frontend::bind("", "", &[], [], &[], &mut packet);
    frontend::execute("", 0, &mut packet);
    frontend::sync(&mut packet);
    lane.send(packet).await;
    while lane.frame().await.unwrap().tag != tag::COPY_IN_RESPONSE {}
    let mut packet = BytesMut::new();
    frontend::copy_data(b"1\n2\n", &mut packet);
    frontend::copy_done(&mut packet);
    frontend::sync(&mut packet);
    lane.send(packet).await;
    assert_eq!(tags(&lane.exchange().await), "CZ");
    let (_, done) = lane.fragment(fragment("SELECT a FROM c")).await;
    assert_eq!(done.rows, 2);
}

#[tokio::test]
async fn a_backend_killed_under_a_fragment() {
    let agent = Agent::start(10).await;
    let mut lane = Lane::new(&agent).await;
    let (_, done) = lane.fragment(fragment("SELECT pg_terminate_backend(pg_backend_pid())")).await;
    assert_eq!(error_of(&done.error_frame).0, "57P01");
    assert_eq!(done.transaction_status, 0);
    assert_eq!(lane.reply().await.unwrap_err().code(), tonic::Code::Unavailable);
}
