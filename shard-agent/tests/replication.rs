//! PostgreSQL as primary and replica: copies, the synchronous set, promotion, rewind, and what goes wrong on the way.

mod group;

use std::cell::Cell;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use atoll_agent::postgres::{Data, Lsn, Observation, PostgresError, Rewound, StartAs, Stop, SyncNames, Trouble};
use group::{DEADLINE, Node, any, names, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{sleep, timeout};

const SHORT: Duration = Duration::from_millis(700);
const INSERT: &str = "INSERT INTO t SELECT coalesce(max(a), 0) + 1 FROM t";

#[tokio::test]
async fn a_group_through_a_failover() {
    let mut n1 = Node::primary("g1-n1").await;
    n1.ask("CREATE TABLE t (a int)").await;
    n1.server.keep_slots(&names(&["g1-n1", "g1-n2", "g1-n3"])).await.unwrap();
    assert_eq!(
        n1.ask("SELECT string_agg(slot_name, ' ' ORDER BY slot_name) FROM pg_replication_slots").await,
        "atoll_g1_2dn2 atoll_g1_2dn3"
    );

    // Two copies at once.
    let (mut n2, mut n3) = (Node::new("g1-n2"), Node::new("g1-n3"));
    let (source, copied) = (n1.upstream(), Cell::new((0, 0)));
    assert_eq!(n2.server.data().await.unwrap(), Data::Empty);
    let copies = tokio::join!(
        n2.server.rebuild(&source, |bytes, total| copied.set((bytes, total))),
        n3.server.rebuild(&source, |_, _| ())
    );
    copies.0.unwrap();
    copies.1.unwrap();
    let (bytes, total) = copied.get();
    assert!(bytes > 1 << 20 && bytes == total, "{bytes} of {total}");
    assert_eq!(n2.beside(), ["data"]);
    let Data::Present(present) = n2.server.data().await.unwrap() else { panic!("no data") };
    assert!(present.standby);
    assert!(matches!(
        n2.server.start(&StartAs::Primary { sync: SyncNames::default() }).await,
        Err(PostgresError::Standby { .. })
    ));
    n2.start_replica(Some(&n1)).await;
    n3.start_replica(Some(&n1)).await;
    let replica = n2.streams().await;
    assert_eq!(replica.streaming_from, Some(format!("127.0.0.1:{}", n1.settings.postgres_port)));
    assert_eq!((replica.timeline, &replica.trouble), (1, &None));
    n3.streams().await;

    // The synchronous set, up and down.
    let before = n1.is_primary().await.flushed;
    let since = n1.server.set_sync(&any(1, &["g1-n2", "g1-n3"])).await.unwrap();
    assert!(since >= before);
    let primary = n1.is_primary().await;
    assert_eq!(primary.standbys.iter().map(|standby| standby.name.as_str()).collect::<Vec<_>>(), ["g1-n2", "g1-n3"]);
    assert!(primary.standbys.iter().all(|standby| standby.sync && standby.state == "streaming"), "{primary:?}");
    n1.ask(INSERT).await;
    assert!(n3.server.stop(Stop::Fast { at_most: DEADLINE }).await.unwrap());
    n1.ask(INSERT).await;
    n1.server.set_sync(&any(2, &["g1-n2", "g1-n3"])).await.unwrap();
    assert!(!n1.session().await.answers(INSERT, SHORT).await, "a commit without its second confirmation");
    n1.server.set_sync(&any(1, &["g1-n3"])).await.unwrap();
    assert!(!n1.session().await.answers(INSERT, SHORT).await, "confirmed by a node out of the set");
    let standbys = n1.is_primary().await.standbys;
    assert!(!standbys[0].sync, "{standbys:?}");
    n1.server.set_sync(&any(0, &["g1-n3"])).await.unwrap();
    n1.ask(INSERT).await;
    n3.start_replica(Some(&n1)).await;
    n3.streams().await;
    n1.server.set_sync(&any(1, &["g1-n2", "g1-n3"])).await.unwrap();
    n1.ask(INSERT).await;
    let rows = n1.ask("SELECT count(*) FROM t").await;

    // The primary dies; one is promoted, the other follows.
    assert!(!n1.server.stop(Stop::Immediate).await.unwrap());
    let mut positions = Vec::new();
    for node in [&mut n2, &mut n3] {
        node.server.follow(None).await.unwrap();
        positions.push(node.server.replayed(DEADLINE).await.unwrap());
    }
    let (mut first, mut second) = if positions[0].lsn >= positions[1].lsn { (n2, n3) } else { (n3, n2) };
    let second_name = second.settings.name.clone();
    first.server.keep_slots(&names(&["g1-n1", &second_name])).await.unwrap();
    let promotion = Instant::now();
    let position = first.server.promote(&any(1, &[&second_name]), 5).await.unwrap();
    println!("promoted within {:?}", promotion.elapsed());
    assert_eq!(position.timeline, 5);
    assert!(!first.session().await.answers(INSERT, SHORT).await, "a first commit without confirmation");
    second.server.follow(Some(&first.upstream())).await.unwrap();
    let upstream = format!("127.0.0.1:{}", first.settings.postgres_port);
    let follows = |replica: &atoll_agent::postgres::Replica| {
        replica.streaming_from.as_ref() == Some(&upstream) && replica.timeline == 5
    };
    second.is_replica("it follows onto the new timeline", follows).await;
    first.ask(INSERT).await;
    let count: i32 = first.ask("SELECT count(*) FROM t").await.parse().unwrap();
    assert!(count > rows.parse().unwrap(), "{count} rows, {rows} were acknowledged");

    // The old primary went on by itself; that is undone.
    n1.server.start(&StartAs::Primary { sync: SyncNames::default() }).await.unwrap();
    n1.is_primary().await;
    n1.ask("CREATE TABLE alone AS SELECT generate_series(1, 10000) AS a").await;
    n1.server.stop(Stop::Immediate).await.unwrap();
    assert_eq!(n1.server.rewind(&first.upstream()).await.unwrap(), Rewound::Done);
    assert_eq!(n1.beside(), ["data"]);
    n1.start_replica(Some(&first)).await;
    n1.is_replica("it follows onto the new timeline", follows).await;
    assert_eq!(n1.ask("SELECT to_regclass('alone')").await, "");
    first.server.set_sync(&any(2, &["g1-n1", &second_name])).await.unwrap();
    first.ask(INSERT).await;
    let count = first.ask("SELECT count(*) FROM t").await;
    n1.server.replayed(DEADLINE).await.unwrap();
    assert_eq!(n1.ask("SELECT count(*) FROM t").await, count);
    assert_eq!(n1.ask("SELECT count(*) FROM pg_replication_slots").await, "0");

    // And a planned change back: the log is handed over whole, so that nothing has to be rewound.
    n1.server.keep_slots(&names(&["g1-n2", "g1-n3"])).await.unwrap();
    assert!(first.server.stop(Stop::Fast { at_most: DEADLINE }).await.unwrap());
    n1.server.follow(None).await.unwrap();
    n1.server.replayed(DEADLINE).await.unwrap();
    assert_eq!(n1.server.promote(&SyncNames::default(), 0).await.unwrap().timeline, 6);
    n1.ask(INSERT).await;
    assert_eq!(first.server.rewind(&n1.upstream()).await.unwrap(), Rewound::NotNeeded);
    first.start_replica(Some(&n1)).await;
    first.is_replica("it follows", |replica| replica.timeline == 6 && replica.streaming_from.is_some()).await;
}

#[tokio::test]
async fn a_rebuild_where_a_rewind_is_impossible() {
    let mut primary = Node::primary("a").await;
    primary.ask("CREATE TABLE t AS SELECT 1 AS a").await;
    primary.server.keep_slots(&names(&["b"])).await.unwrap();
    // Data of another system.
    let mut other = Node::primary("b").await;
    other.ask("CREATE TABLE mine AS SELECT 2 AS a").await;
    assert!(matches!(other.server.rewind(&primary.upstream()).await, Err(PostgresError::Role { .. })));
    other.server.stop(Stop::Immediate).await.unwrap();
    let error = other.server.rewind(&primary.upstream()).await.unwrap_err();
    assert!(error.to_string().contains("different systems"), "{error}");
    // Nothing was overwritten.
    let Data::Present(present) = other.server.data().await.unwrap() else { panic!("the data are gone") };
    assert!(present.standby);

    // A rewind that stopped in its middle.
    fs::write(other.path("data.rewinding"), "").unwrap();
    assert_eq!(other.server.data().await.unwrap(), Data::Torn);
    let replica = StartAs::Replica { upstream: Some(primary.upstream()) };
    assert!(matches!(other.server.start(&replica).await, Err(PostgresError::Torn { .. })));
    assert!(matches!(other.server.rewind(&primary.upstream()).await, Err(PostgresError::Torn { .. })));

    // A copy that cannot be had leaves all as it was.
    let mut nobody = primary.upstream();
    nobody.port = 1;
    assert!(other.server.rebuild(&nobody, |_, _| ()).await.is_err());
    assert_eq!(other.beside(), ["data", "data.rewinding"]);
    assert_eq!(other.server.data().await.unwrap(), Data::Torn);

    other.server.rebuild(&primary.upstream(), |_, _| ()).await.unwrap();
    assert_eq!(other.beside(), ["data"]);
    other.start_replica(Some(&primary)).await;
    other.streams().await;
    assert_eq!(other.ask("SELECT a FROM t").await, "1");
    assert_eq!(other.ask("SELECT to_regclass('mine')").await, "");
}

#[tokio::test]
async fn a_copy_that_is_cut_short_leaves_nothing() {
    let mut primary = Node::primary("a").await;
    primary.ask("CREATE TABLE t AS SELECT repeat('x', 500) AS a FROM generate_series(1, 200000)").await;
    primary.server.keep_slots(&names(&["b"])).await.unwrap();
    let mut replica = Node::new("b");
    let fresh = replica.path("data.rebuild");
    let began = until("the copy grows", || group::size_of(&fresh) > 4 << 20);
    let source = primary.upstream();
    tokio::select! {
        done = replica.server.rebuild(&source, |_, _| ()) => panic!("it was to be cut short: {done:?}"),
        () = began => (),
    }
    assert_eq!(replica.beside(), ["data.rebuild"]);
    assert_eq!(replica.server.data().await.unwrap(), Data::Empty);
    // The next agent begins anew, whatever its predecessor left running.
    replica.next_agent();
    let mut orphan = Command::new(replica.settings.postgres_bindir.join("pg_basebackup"))
        .args(["-h", "127.0.0.1", "-p", &primary.settings.postgres_port.to_string(), "-U", "atoll_replication"])
        .arg("-D")
        .arg(replica.path("data.orphan"))
        .args(["--max-rate=32", "--checkpoint=fast"])
        .env("PGPASSFILE", replica.path("run/replication.pass"))
        .spawn()
        .unwrap();
    let orphaned = replica.path("data.orphan");
    until("the orphan copies", || group::size_of(&orphaned) > 0).await;
    replica.server.rebuild(&primary.upstream(), |_, _| ()).await.unwrap();
    assert_eq!(orphan.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
    fs::remove_dir_all(orphaned).unwrap();
    // Left by one whose agent died after the swap.
    fs::create_dir_all(fresh.join("base/1")).unwrap();
    replica.start_replica(Some(&primary)).await;
    replica.streams().await;
    until("what was left is swept away", || !fresh.exists()).await;
    assert_eq!(replica.ask("SELECT count(*) FROM t").await, "200000");
}

#[tokio::test]
async fn a_killed_postmaster_comes_back_at_once() {
    let node = Node::with("a", &[("fsync", "on"), ("shared_buffers", "128MB"), ("max_wal_size", "4GB")]);
    let mut node = node.into_primary().await;
    node.ask("CREATE TABLE t AS SELECT g AS a, repeat('x', 200) AS b FROM generate_series(1, 300000) g").await;
    for at in ["in a query", "in a transaction"] {
        // Backends that do not look whether their postmaster lives hold its shared memory.
        let mut busy = node.session().await;
        let busy =
            tokio::spawn(async move { busy.attempt("SELECT count(*) FROM generate_series(1, 1000000000)").await });
        node.ask("UPDATE t SET a = a + 1 WHERE a % 10 = 0").await;
        let killed = Instant::now();
        node.kill_postmaster(Signal::SIGKILL);
        let how = timeout(DEADLINE, node.server.ended()).await.unwrap();
        assert!(how.contains('9'), "{how}");
        assert!(matches!(node.server.observe().await, Observation::Down { last_exit } if last_exit.contains("died")));
        node.server.start(&StartAs::Primary { sync: SyncNames::default() }).await.unwrap();
        let started = killed.elapsed();
        while !matches!(node.server.observe().await, Observation::Primary(_)) {
            assert!(killed.elapsed() < DEADLINE, "{}", node.log());
            sleep(Duration::from_millis(5)).await;
        }
        node.ask("INSERT INTO t VALUES (0, '')").await;
        println!("killed {at}: started after {started:?}, writable after {:?}", killed.elapsed());
        assert!(busy.await.unwrap().is_err());
    }
    assert_eq!(node.ask("SELECT count(*) FROM t").await, "300002");
}

#[tokio::test]
async fn a_stopped_server_is_noticed_and_can_be_stopped() {
    let mut primary = Node::primary("a").await;
    let mut busy = primary.session().await;
    let busy = tokio::spawn(async move { busy.attempt("SELECT pg_sleep(600)").await });
    for everything in [false, true] {
        if everything {
            primary.processes().iter().for_each(|pid| kill(*pid, Signal::SIGSTOP).unwrap());
        } else {
            primary.kill_postmaster(Signal::SIGSTOP);
        }
        let looked = Instant::now();
        let wanted = |observation| matches!(observation, Observation::Unresponsive { .. }).then_some(());
        primary.until("it is noticed", wanted).await;
        assert!(looked.elapsed() < Duration::from_secs(2), "{:?}", looked.elapsed());
        if !everything {
            primary.kill_postmaster(Signal::SIGCONT);
            primary.is_primary().await;
        }
    }
    primary.processes().iter().for_each(|pid| kill(*pid, Signal::SIGCONT).unwrap());
    primary.is_primary().await;

    // The agent's own session alone: another takes its place.
    let own = primary.ask("SELECT pid FROM pg_stat_activity WHERE application_name = 'atoll-agent'").await;
    kill(Pid::from_raw(own.parse().unwrap()), Signal::SIGSTOP).unwrap();
    assert!(matches!(primary.server.observe().await, Observation::Unresponsive { .. }));
    primary.is_primary().await;

    primary.processes().iter().for_each(|pid| kill(*pid, Signal::SIGSTOP).unwrap());
    let stopping = Instant::now();
    assert!(!primary.server.stop(Stop::Immediate).await.unwrap());
    println!("stopped within {:?}", stopping.elapsed());
    assert!(stopping.elapsed() < Duration::from_secs(3));
    assert!(primary.processes().is_empty());
    assert!(busy.await.unwrap().is_err());
    assert!(matches!(primary.server.observe().await, Observation::Down { .. }));
    primary.start_primary().await;

    // Stopped children alone, too: the postmaster waits for them.
    let postmaster = primary.postmaster().unwrap();
    primary.processes().iter().filter(|pid| **pid != postmaster).for_each(|pid| kill(*pid, Signal::SIGSTOP).unwrap());
    primary.server.stop(Stop::Fast { at_most: Duration::from_millis(500) }).await.unwrap();
    assert!(primary.processes().is_empty());
}

#[tokio::test]
async fn a_replica_that_was_cut_off_stays_where_it_is() {
    let mut primary = Node::primary("a").await;
    primary.ask("CREATE TABLE t (a int)").await;
    let mut replica = Node::replica("b", &mut primary).await;
    let mut session = primary.session().await;
    let writes = tokio::spawn(async move { while session.attempt(INSERT).await.is_ok() {} });
    for round in 0..5 {
        let behind = replica.server.replayed(DEADLINE).await.unwrap();
        replica.server.follow(None).await.unwrap();
        let position = replica.server.replayed(DEADLINE).await.unwrap();
        assert!(position.lsn >= behind.lsn && position.timeline == 1);
        sleep(Duration::from_millis(400)).await;
        assert_eq!(replica.server.replayed(DEADLINE).await.unwrap(), position, "round {round}");
        let Observation::Replica(seen) = replica.server.observe().await else { panic!("no replica") };
        assert_eq!((seen.replayed, seen.streaming_from), (position.lsn, None));
        assert!(primary.is_primary().await.flushed > position.lsn, "the primary did not write");
        // Also after a restart, when no receiver tells how far the log goes.
        if round == 2 {
            replica.server.stop(Stop::Immediate).await.unwrap();
            replica.start_replica(None).await;
            assert_eq!(replica.server.replayed(DEADLINE).await.unwrap(), position);
        }
        replica.server.follow(Some(&primary.upstream())).await.unwrap();
        replica.streams().await;
    }
    primary.server.stop(Stop::Immediate).await.unwrap();
    writes.await.unwrap();
}

#[tokio::test]
async fn readers_do_not_hold_a_replay_up() {
    let mut primary = Node::primary("a").await;
    primary.ask("CREATE TABLE t AS SELECT generate_series(1, 1000) AS a").await;
    let mut replica = Node::replica("b", &mut primary).await;
    replica.server.replayed(DEADLINE).await.unwrap();
    let mut reader = replica.session().await;
    reader.ask("BEGIN ISOLATION LEVEL REPEATABLE READ").await;
    assert_eq!(reader.ask("SELECT count(*) FROM t").await, "1000");
    primary.ask("DELETE FROM t").await;
    primary.ask("VACUUM t").await;
    primary.ask("DROP TABLE t").await;
    let end = primary.is_primary().await.flushed;
    replica.is_replica("it has the log", |replica| replica.received >= end).await;
    replica.server.follow(None).await.unwrap();
    let began = Instant::now();
    let position = replica.server.replayed(Duration::from_secs(10)).await.unwrap();
    assert!(position.lsn >= end);
    println!("replayed past a reader within {:?}", began.elapsed());
    assert!(reader.attempt("SELECT 1").await.is_err());
}

#[tokio::test]
async fn a_server_is_taken_over_by_the_next_agent() {
    let mut primary = Node::primary("a").await;
    let mut replica = Node::replica("b", &mut primary).await;
    primary.server.set_sync(&any(1, &["b"])).await.unwrap();
    let postmaster = primary.postmaster();
    for (node, standby) in [(&mut primary, false), (&mut replica, true)] {
        node.next_agent();
        let adopted = node.server.adopt().await.unwrap().unwrap();
        assert_eq!(adopted.standby, standby);
        assert!(matches!(
            node.server.start(&StartAs::Replica { upstream: None }).await,
            Err(PostgresError::Running { .. })
        ));
    }
    replica.streams().await;
    assert_eq!(primary.postmaster(), postmaster);
    assert_eq!(primary.ask("SHOW synchronous_standby_names").await, "ANY 1 (\"b\")");
    primary.server.set_sync(&any(0, &[])).await.unwrap();
    primary.server.set_sync(&any(1, &["b"])).await.unwrap();
    primary.ask("CREATE TABLE t (a int)").await;
    primary.kill_postmaster(Signal::SIGKILL);
    timeout(Duration::from_secs(5), primary.server.ended()).await.unwrap();
    primary.start_primary().await;

    // One that nobody holds any more is not started beside.
    primary.next_agent();
    let again = primary.server.start(&StartAs::Primary { sync: SyncNames::default() }).await;
    assert!(matches!(again, Err(PostgresError::Running { .. })));
    assert!(primary.server.stop(Stop::Fast { at_most: DEADLINE }).await.unwrap());
    assert!(primary.postmaster().is_none());
    assert!(primary.server.adopt().await.unwrap().is_none());

    // A lock file that names a process of somebody else's.
    fs::write(primary.path("data/postmaster.pid"), format!("{}\n", std::process::id())).unwrap();
    primary.start_primary().await;
}

#[tokio::test]
async fn a_replica_keeps_up_with_its_primarys_limits() {
    let mut primary = Node::primary("a").await;
    let mut replica = Node::replica("b", &mut primary).await;
    assert_eq!(replica.ask("SHOW max_connections").await, "50");
    primary.server.stop(Stop::Fast { at_most: DEADLINE }).await.unwrap();
    primary.settings.lanes_max = 60;
    primary.settings.postgres_settings.insert("max_locks_per_transaction".into(), "100".into());
    primary.next_agent();
    primary.start_primary().await;
    let replica_seen = replica.is_replica("it wants a restart", |replica| replica.needs_restart.is_some()).await;
    assert!(replica_seen.needs_restart.unwrap().contains(" here and "));
    replica.server.stop(Stop::Fast { at_most: DEADLINE }).await.unwrap();
    replica.start_replica(Some(&primary)).await;
    assert_eq!(replica.streams().await.needs_restart, None);
    assert_eq!(replica.ask("SHOW max_connections").await, "80");
    assert_eq!(replica.ask("SHOW max_locks_per_transaction").await, "100");
    // A pause by hand is not for the agent to end.
    replica.ask("SELECT pg_wal_replay_pause()").await;
    primary.ask("CREATE TABLE t (a int)").await;
    sleep(SHORT).await;
    assert_eq!(replica.is_replica("it runs", |_| true).await.needs_restart, None);
}

#[tokio::test]
async fn what_keeps_a_replica_from_receiving_is_told() {
    let mut primary = Node::with(
        "a",
        &[("fsync", "off"), ("wal_keep_size", "0"), ("max_slot_wal_keep_size", "16MB"), ("max_wal_size", "32MB")],
    )
    .into_primary()
    .await;
    let mut replica = Node::replica("b", &mut primary).await;
    let lag = replica.is_replica("it has caught up", |replica| replica.lag.is_some()).await.lag.unwrap();
    assert!(lag < Duration::from_secs(5), "{lag:?}");
    replica.server.follow(None).await.unwrap();
    let stays = replica.server.replayed(DEADLINE).await.unwrap();
    for _ in 0..8 {
        primary
            .ask("SELECT pg_logical_emit_message(false, '', repeat('x', 1000)) FROM generate_series(1, 20000)")
            .await;
        primary.ask("SELECT pg_switch_wal()").await;
        primary.ask("CHECKPOINT").await;
    }
    assert_eq!(primary.ask("SELECT wal_status FROM pg_replication_slots").await, "lost");
    replica.server.follow(Some(&primary.upstream())).await.unwrap();
    let lost = |replica: &atoll_agent::postgres::Replica| matches!(replica.trouble, Some(Trouble::LogRemoved(_)));
    let seen = replica.is_replica("its log is gone", lost).await;
    assert!(seen.received >= stays.lsn && seen.received < primary.is_primary().await.flushed);
    primary.server.keep_slots(&names(&["b"])).await.unwrap();
    assert_ne!(primary.ask("SELECT wal_status FROM pg_replication_slots").await, "lost");
    primary.server.keep_slots(&names(&[])).await.unwrap();
    assert_eq!(primary.ask("SELECT count(*) FROM pg_replication_slots").await, "0");

    replica.server.stop(Stop::Fast { at_most: DEADLINE }).await.unwrap();
    let mut replica = replica.into_replica(&mut primary).await;
    // It is promoted by hand, and follows its former primary again.
    let socket = replica.session().await;
    assert!(socket.answers("SELECT pg_promote()", DEADLINE).await);
    replica.is_primary().await;
    let alone = replica.session().await.answers("CREATE TABLE alone (a int)", SHORT).await;
    assert!(!alone, "a replica that nobody promoted acknowledged a commit");
    replica.server.stop(Stop::Immediate).await.unwrap();
    replica.start_replica(Some(&primary)).await;
    let diverged = |replica: &atoll_agent::postgres::Replica| matches!(replica.trouble, Some(Trouble::Diverged(_)));
    replica.is_replica("it has diverged", diverged).await;
    // Nobody to receive from.
    let mut nobody = primary.upstream();
    nobody.port = 1;
    replica.server.follow(Some(&nobody)).await.unwrap();
    let other = |replica: &atoll_agent::postgres::Replica| matches!(replica.trouble, Some(Trouble::Other(_)));
    replica.is_replica("nobody is there", other).await;
}

#[tokio::test]
async fn two_promotions_that_know_nothing_of_each_other() {
    let mut primary = Node::primary("a").await;
    primary.ask("CREATE TABLE t (a int)").await;
    let mut b = Node::replica("b", &mut primary).await;
    primary.server.keep_slots(&names(&["b", "c"])).await.unwrap();
    let mut c = Node::new("c");
    c.server.rebuild(&primary.upstream(), |_, _| ()).await.unwrap();
    // Told whom to follow before it answers anybody.
    c.server.start(&StartAs::Replica { upstream: None }).await.unwrap();
    c.server.follow(Some(&primary.upstream())).await.unwrap();
    c.streams().await;
    assert!(primary.server.stop(Stop::Fast { at_most: DEADLINE }).await.unwrap());
    let mut ends: Vec<Lsn> = Vec::new();
    for node in [&mut b, &mut c] {
        node.server.follow(None).await.unwrap();
        ends.push(node.server.replayed(DEADLINE).await.unwrap().lsn);
    }
    assert_eq!(ends[0], ends[1]);
    // The first is promoted and dies unheard; the second is promoted at the same position.
    assert_eq!(b.server.promote(&SyncNames::default(), 3).await.unwrap().timeline, 3);
    b.ask("INSERT INTO t VALUES (1)").await;
    b.server.stop(Stop::Immediate).await.unwrap();
    assert_eq!(c.server.promote(&SyncNames::default(), 4).await.unwrap().timeline, 4);
    c.ask("INSERT INTO t VALUES (2)").await;
    c.server.keep_slots(&names(&["a", "b"])).await.unwrap();
    assert_eq!(b.server.rewind(&c.upstream()).await.unwrap(), Rewound::Done);
    for node in [&mut b, &mut primary] {
        node.start_replica(Some(&c)).await;
        node.is_replica("it follows", |replica| replica.timeline == 4 && replica.streaming_from.is_some()).await;
        let end = c.is_primary().await.flushed;
        node.is_replica("it has caught up", |replica| replica.replayed >= end).await;
        assert_eq!(node.ask("SELECT string_agg(a::text, ' ') FROM t").await, "2");
    }
}
