//! The tokio-postgres driver. Each scenario gives lines that must be the same from both servers.

use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use atoll_tests::Target;
use atoll_tests::servers::Pair;
use futures_util::future::try_join_all;
use futures_util::{SinkExt, StreamExt, TryStreamExt, pin_mut};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls, binary_copy};

type Lines = Result<Vec<String>>;

pub fn compare<F: Future<Output = Lines>>(pair: &Pair, scenario: impl Fn(Target) -> F) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let limited = |target: &Target| {
        let scenario = scenario(target.clone());
        runtime.block_on(async { tokio::time::timeout(std::time::Duration::from_secs(60), scenario).await })
    };
    let expected = limited(pair.plain.target()).context("plain PostgreSQL took too long")??;
    let got = limited(pair.subject.target()).context("the cluster took too long")??;
    if expected != got {
        let differing: Vec<String> = expected
            .iter()
            .zip(&got)
            .filter(|(left, right)| left != right)
            .map(|(left, right)| format!("expected {left}\n     got {right}"))
            .collect();
        bail!("{} lines expected, {} got\n{}", expected.len(), got.len(), differing.join("\n"));
    }
    Ok(())
}

async fn connect(target: &Target) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(&target.conninfo(), NoTls).await?;
    // Its error, if any, reaches the client's next call.
    tokio::spawn(connection);
    Ok(client)
}

/// A fresh table of that name, distributed where that exists.
async fn table(client: &Client, target: &Target, name: &str, columns: &str) -> Result<()> {
    filled(client, target, name, columns, "SELECT 1").await
}

/// A fresh table, filled by a statement and then distributed where that exists.
async fn filled(client: &Client, target: &Target, name: &str, columns: &str, fill: &str) -> Result<()> {
    client.batch_execute(&format!("DROP TABLE IF EXISTS {name}; CREATE TABLE {name} ({columns}); {fill}")).await?;
    if target.label == "atoll" {
        client.query(&format!("SELECT create_distributed_table('{name}', 'id')"), &[]).await?;
    }
    Ok(())
}

pub async fn typed(target: Target) -> Lines {
    let client = connect(&target).await?;
    let columns =
        "id int8 PRIMARY KEY, t text, i int4, f float8, b bool, y bytea, ts timestamptz, a int4[], d float4, s int2";
    table(&client, &target, "dr_typed", columns).await?;
    let insert = client.prepare("INSERT INTO dr_typed VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)").await?;
    for id in 0_i64..20 {
        let small = i32::try_from(id)?;
        let values: [&(dyn ToSql + Sync); 10] = [
            &id,
            &format!("text {id}"),
            &small,
            &(f64::from(small) / 8.0),
            &(id % 2 == 0),
            &vec![0_u8, 255, 7],
            &SystemTime::UNIX_EPOCH,
            &vec![small, small + 1],
            &1.5_f32,
            &-7_i16,
        ];
        client.execute(&insert, &values).await?;
    }
    let mut lines = Vec::new();
    let by_key = client.query_one("SELECT * FROM dr_typed WHERE id = $1", &[&7_i64]).await?;
    let all = client.query("SELECT * FROM dr_typed ORDER BY id", &[]).await?;
    for row in std::iter::once(&by_key).chain(&all) {
        lines.push(format!(
            "{} {:?} {} {} {} {:?} {:?} {:?} {} {}",
            row.get::<_, i64>(0),
            row.get::<_, Option<String>>(1),
            row.get::<_, i32>(2),
            row.get::<_, f64>(3),
            row.get::<_, bool>(4),
            row.get::<_, Vec<u8>>(5),
            row.get::<_, SystemTime>(6),
            row.get::<_, Vec<i32>>(7),
            row.get::<_, f32>(8),
            row.get::<_, i16>(9),
        ));
    }
    let sums = client
        .query_one("SELECT count(*), sum(i), max(t), avg(f), min(ts) FROM dr_typed WHERE id > $1", &[&3_i64])
        .await?;
    lines.push(format!(
        "{} {} {} {} {:?}",
        sums.get::<_, i64>(0),
        sums.get::<_, i64>(1),
        sums.get::<_, String>(2),
        sums.get::<_, f64>(3),
        sums.get::<_, SystemTime>(4)
    ));
    client.batch_execute("DROP TABLE dr_typed").await?;
    Ok(lines)
}

pub async fn transactions(target: Target) -> Lines {
    let mut client = connect(&target).await?;
    table(&client, &target, "dr_tx", "id int8 PRIMARY KEY, v text").await?;
    let mut lines = Vec::new();
    let transaction = client.transaction().await?;
    for id in 0_i64..10 {
        transaction.execute("INSERT INTO dr_tx VALUES ($1, 'kept')", &[&id]).await?;
    }
    transaction.commit().await?;
    let mut transaction = client.transaction().await?;
    transaction.execute("UPDATE dr_tx SET v = 'outer' WHERE id = $1", &[&1_i64]).await?;
    let nested = transaction.savepoint("nested").await?;
    nested.execute("UPDATE dr_tx SET v = 'inner' WHERE id = $1", &[&2_i64]).await?;
    let failed = nested.execute("INSERT INTO dr_tx VALUES ($1, 'dup')", &[&3_i64]).await;
    lines.push(format!("{:?}", failed.err().and_then(|error| error.code().cloned())));
    nested.rollback().await?;
    transaction.commit().await?;
    let transaction =
        client.build_transaction().read_only(true).isolation_level(tokio_postgres::IsolationLevel::RepeatableRead);
    let transaction = transaction.start().await?;
    let failed = transaction.execute("DELETE FROM dr_tx WHERE id = 5", &[]).await;
    lines.push(format!("{:?}", failed.err().and_then(|error| error.code().cloned())));
    drop(transaction);
    for row in client.query("SELECT id, v FROM dr_tx ORDER BY id", &[]).await? {
        lines.push(format!("{} {}", row.get::<_, i64>(0), row.get::<_, String>(1)));
    }
    client.batch_execute("DROP TABLE dr_tx").await?;
    Ok(lines)
}

pub async fn copy(target: Target) -> Lines {
    let client = connect(&target).await?;
    table(&client, &target, "dr_copy", "id int8 PRIMARY KEY, v text, f float8").await?;
    let mut lines = Vec::new();
    let sink = client.copy_in("COPY dr_copy FROM STDIN").await?;
    pin_mut!(sink);
    for id in 0..500 {
        sink.send(bytes::Bytes::from(format!("{id}\tvalue {id}\t{}\n", f64::from(id) / 4.0))).await?;
    }
    lines.push(format!("{} rows", sink.finish().await?));
    let types = [Type::INT8, Type::TEXT, Type::FLOAT8];
    let sink = client.copy_in("COPY dr_copy FROM STDIN BINARY").await?;
    let writer = binary_copy::BinaryCopyInWriter::new(sink, &types);
    pin_mut!(writer);
    for id in 1000_i64..1500 {
        writer.as_mut().write(&[&id, &format!("binary {id}"), &None::<f64>]).await?;
    }
    lines.push(format!("{} rows", writer.finish().await?));
    let text: Vec<bytes::Bytes> = client.copy_out("COPY dr_copy TO STDOUT").await?.try_collect().await?;
    let mut rows: Vec<String> = String::from_utf8(text.concat())?.lines().map(str::to_owned).collect();
    rows.sort();
    lines.push(format!("{} rows out, {:?} to {:?}", rows.len(), rows.first(), rows.last()));
    let out = client.copy_out("COPY (SELECT id, v, f FROM dr_copy ORDER BY id LIMIT 3) TO STDOUT BINARY").await?;
    let reader = binary_copy::BinaryCopyOutStream::new(out, &types);
    pin_mut!(reader);
    while let Some(row) = reader.next().await {
        let row = row?;
        lines.push(format!("{} {} {:?}", row.get::<i64>(0), row.get::<String>(1), row.get::<Option<f64>>(2)));
    }
    // Given up half-way: nothing of it stays.
    let sink = client.copy_in::<_, bytes::Bytes>("COPY dr_copy FROM STDIN").await?;
    drop(sink);
    let bad = client.copy_in("COPY dr_copy FROM STDIN").await?;
    pin_mut!(bad);
    bad.send(bytes::Bytes::from_static(b"2000\tx\t1\nbad\ty\t2\n")).await?;
    lines.push(format!("{:?}", bad.finish().await.err().and_then(|error| error.code().cloned())));
    let row = client.query_one("SELECT count(*), sum(id), sum(f) FROM dr_copy", &[]).await?;
    lines.push(format!("{} {:?}", row.get::<_, i64>(0), row.get::<_, f64>(2)));
    client.batch_execute("DROP TABLE dr_copy").await?;
    Ok(lines)
}

pub async fn prepared(target: Target) -> Lines {
    let client = connect(&target).await?;
    let fill = "INSERT INTO dr_prep SELECT i, 'v' || i FROM generate_series(1, 100) i";
    filled(&client, &target, "dr_prep", "id int8 PRIMARY KEY, v text", fill).await?;
    let mut lines = Vec::new();
    let by_key = client.prepare("SELECT v FROM dr_prep WHERE id = $1").await?;
    lines.push(format!(
        "{:?} {:?}",
        by_key.params(),
        by_key.columns().iter().map(|c| (c.name(), c.type_())).collect::<Vec<_>>()
    ));
    let typed = client.prepare_typed("SELECT v FROM dr_prep WHERE id = $1", &[Type::INT4]).await?;
    let count = client.prepare("SELECT count(*), max(v) FROM dr_prep WHERE id >= $1").await?;
    for id in 1_i64..=60 {
        lines.push(client.query_one(&by_key, &[&id]).await?.get(0));
        lines.push(client.query_one(&typed, &[&i32::try_from(id)?]).await?.get(0));
        lines.push(client.query_one(&count, &[&id]).await?.get::<_, i64>(0).to_string());
    }
    lines.push(format!("{:?}", client.query_opt(&by_key, &[&1000_i64]).await?.is_none()));
    drop(by_key);
    let again = client.prepare("SELECT v FROM dr_prep WHERE id = $1").await?;
    lines.push(client.query_one(&again, &[&5_i64]).await?.get(0));
    client.batch_execute("DROP TABLE dr_prep").await?;
    Ok(lines)
}

pub async fn pipelined(target: Target) -> Lines {
    let client = connect(&target).await?;
    table(&client, &target, "dr_pipe", "id int8 PRIMARY KEY, v text").await?;
    let insert = client.prepare("INSERT INTO dr_pipe VALUES ($1, $2)").await?;
    let client = &client;
    let inserts = (0_i64..200).map(|id| {
        let insert = insert.clone();
        async move { client.execute(&insert, &[&id, &format!("v{id}")]).await }
    });
    let mut lines = vec![format!("{:?}", try_join_all(inserts).await?.iter().sum::<u64>())];
    let by_key = client.prepare("SELECT v FROM dr_pipe WHERE id = $1").await?;
    let reads = (0_i64..200).map(|id| {
        let by_key = by_key.clone();
        async move { Ok::<_, tokio_postgres::Error>(client.query_one(&by_key, &[&id]).await?.get::<_, String>(0)) }
    });
    lines.extend(try_join_all(reads).await?);
    let total = client.prepare("SELECT count(*) FROM dr_pipe WHERE id < $1").await?;
    let mixed = (0_i64..40).map(|id| {
        let (by_key, total) = (by_key.clone(), total.clone());
        async move {
            let fails = client.query("SELECT 1 / (SELECT 0)", &[]).await.is_err();
            let value: String = client.query_one(&by_key, &[&id]).await?.get(0);
            let count: i64 = client.query_one(&total, &[&id]).await?.get(0);
            Ok::<_, tokio_postgres::Error>(format!("{fails} {value} {count}"))
        }
    });
    lines.extend(try_join_all(mixed).await?);
    client.batch_execute("DROP TABLE dr_pipe").await?;
    Ok(lines)
}

pub async fn streamed(target: Target) -> Lines {
    let mut client = connect(&target).await?;
    let fill = "INSERT INTO dr_stream SELECT i, repeat('x', 100) FROM generate_series(1, 5000) i";
    filled(&client, &target, "dr_stream", "id int8 PRIMARY KEY, v text", fill).await?;
    let mut lines = Vec::new();
    let rows = client.query_raw("SELECT id FROM dr_stream ORDER BY id", Vec::<&(dyn ToSql + Sync)>::new()).await?;
    let ids: Vec<i64> = rows.map_ok(|row| row.get::<_, i64>(0)).try_collect().await?;
    lines.push(format!("{} {:?}", ids.len(), ids.last()));
    // A portal that is read in parts.
    let transaction = client.transaction().await?;
    let statement = transaction.prepare("SELECT id FROM dr_stream WHERE id <= $1 ORDER BY id").await?;
    let portal = transaction.bind(&statement, &[&25_i64]).await?;
    for _ in 0..4 {
        let part = transaction.query_portal(&portal, 10).await?;
        lines.push(format!("{:?}", part.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>()));
    }
    transaction.commit().await?;
    for message in client.simple_query("SELECT 1; SELECT id FROM dr_stream WHERE id = 3; SELECT 'x'").await? {
        lines.push(format!("{:?}", std::mem::discriminant(&message)));
    }
    client.batch_execute("DROP TABLE dr_stream").await?;
    Ok(lines)
}

pub async fn errors(target: Target) -> Lines {
    let client = connect(&target).await?;
    let mut lines = Vec::new();
    for sql in [
        "SELEC 1",
        "SELECT nope",
        "SELECT 1 / 0",
        "SELECT * FROM nope WHERE id = 1",
        "INSERT INTO shop.customers VALUES (1, 'dup')",
    ] {
        let error = client.query(sql, &[]).await.err().and_then(|error| error.as_db_error().cloned());
        let error = error.with_context(|| format!("{sql} must fail"))?;
        lines.push(format!(
            "{:?} {} {:?} {:?} {:?} {:?}",
            error.code(),
            error.message(),
            error.detail(),
            error.hint(),
            error.position(),
            error.constraint()
        ));
    }
    let wrong = client.query("SELECT $1::int8", &[&"text"]).await;
    lines.push(format!("{}", wrong.is_err()));
    let token = client.cancel_token();
    let sleeping = client.query("SELECT pg_sleep(60)", &[]);
    let cancelling = async {
        for _ in 0..50 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            token.cancel_query(NoTls).await?;
        }
        Ok::<_, tokio_postgres::Error>(())
    };
    pin_mut!(sleeping, cancelling);
    let ended = futures_util::future::select(sleeping, cancelling).await;
    match ended {
        futures_util::future::Either::Left((result, _)) => {
            lines.push(format!("{:?}", result.err().and_then(|error| error.code().cloned())));
        }
        futures_util::future::Either::Right(_) => bail!("a cancelled statement goes on"),
    }
    Ok(lines)
}

pub async fn many_clients(target: Target) -> Lines {
    let first = connect(&target).await?;
    let fill = "INSERT INTO dr_many SELECT i FROM generate_series(0, 9) i";
    filled(&first, &target, "dr_many", "id int8 PRIMARY KEY, n int8 DEFAULT 0", fill).await?;
    let workers = (0_i64..40).map(|number| {
        let target = target.clone();
        async move {
            let client = connect(&target).await?;
            for round in 0_i64..10 {
                let id = (number + round) % 10;
                client.execute("UPDATE dr_many SET n = n + 1 WHERE id = $1", &[&id]).await?;
                client.query_one("SELECT n FROM dr_many WHERE id = $1", &[&id]).await?;
            }
            Ok::<_, anyhow::Error>(())
        }
    });
    try_join_all(workers).await?;
    let rows = first.query("SELECT id, n FROM dr_many ORDER BY id", &[]).await?;
    let lines = rows.iter().map(|row| format!("{} {}", row.get::<_, i64>(0), row.get::<_, i64>(1))).collect();
    first.batch_execute("DROP TABLE dr_many").await?;
    Ok(lines)
}

/// Each session's currval() and lastval() are of what it drew itself, however many others draw between.
pub async fn sequences(target: Target) -> Lines {
    let first = connect(&target).await?;
    table(&first, &target, "dr_serial", "id bigserial PRIMARY KEY, n int8").await?;
    first
        .batch_execute("DROP TABLE IF EXISTS dr_serial_here; CREATE TABLE dr_serial_here (id bigserial, n int8)")
        .await?;
    let workers = (0_i64..6).map(|number| {
        let target = target.clone();
        async move {
            let client = connect(&target).await?;
            let mut lines = Vec::new();
            for _ in 0..3 {
                for (insert, ask) in [
                    (
                        "INSERT INTO dr_serial (n) VALUES ($1) RETURNING id",
                        "SELECT currval('dr_serial_id_seq'), lastval()",
                    ),
                    ("INSERT INTO dr_serial (n) VALUES ($1), (7), (8) RETURNING id", "SELECT lastval(), lastval()"),
                    (
                        "INSERT INTO dr_serial_here (n) VALUES ($1) RETURNING id",
                        "SELECT currval('dr_serial_here_id_seq'), lastval()",
                    ),
                ] {
                    let drawn = client.query(insert, &[&number]).await?.last().map(|row| row.get::<_, i64>(0));
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    let row = client.query_one(ask, &[]).await?;
                    lines.push(format!("{} {}", drawn == Some(row.get(0)), drawn == Some(row.get(1))));
                }
            }
            Ok::<_, anyhow::Error>(lines)
        }
    });
    let mut lines: Vec<String> = try_join_all(workers).await?.into_iter().flatten().collect();
    let fresh = connect(&target).await?;
    let error = fresh.query("SELECT currval('dr_serial_id_seq')", &[]).await.err();
    lines.push(format!("{:?}", error.and_then(|error| error.code().cloned())));
    first.batch_execute("DROP TABLE dr_serial; DROP TABLE dr_serial_here").await?;
    Ok(lines)
}
