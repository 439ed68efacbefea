//! Lanes against a real PostgreSQL: relay, refusals, cancel, and what a dropped lane leaves behind.

mod common;

use std::collections::HashMap;
use std::time::Duration;

use atoll_proto::channel::connect_lazy;
use atoll_proto::v1::lane_reply::Kind;
use atoll_proto::v1::{CancelRequest, LaneOpen, LaneRequest, StateRequest, lane_request};
use atoll_wire::backend::tag;
use atoll_wire::frontend;
use bytes::BytesMut;
use common::{Agent, DEADLINE, Lane, NoLane, error_of, open_request, tags};
use tokio::time::timeout;
use tonic::Code;

#[tokio::test]
async fn frames_travel_both_ways() {
    let agent = Agent::start(10).await;
    let mut lane = Lane::new(&agent).await;
    assert_eq!(lane.opened.parameters["application_name"], "test");
    assert_eq!(lane.ask("SELECT pg_backend_pid()").await, lane.opened.backend_pid.to_string());

    assert_eq!(tags(&lane.query("SELECT 1; SELECT 2").await), "TDCTDCZ");
    let frames = lane.query("SELECT 1/0").await;
    assert_eq!(tags(&frames), "EZ");
    assert_eq!(error_of(&frames[0].raw).0, "22012");

    let mut packet = BytesMut::new();
    frontend::parse("s", "SELECT $1::int + 1", &[], &mut packet);
    frontend::bind("", "s", &[], [Some(&b"41"[..])], &[], &mut packet);
    frontend::describe(b'P', "", &mut packet);
    frontend::execute("", 0, &mut packet);
    frontend::sync(&mut packet);
    lane.send(packet).await;
    let frames = lane.exchange().await;
    assert_eq!(tags(&frames), "12TDCZ");
    assert!(frames[3].raw.ends_with(b"42"));

    // The same over TCP, as another role.
    lane.query("CREATE ROLE someone LOGIN").await;
    let tcp = connect_lazy(&agent.address, None).unwrap();
    let someone = LaneOpen { role: "someone".into(), ..open_request() };
    let mut other = Lane::open(&mut agent.client_on(tcp, common::SECRET), someone).await.unwrap();
    assert_eq!(other.ask("SELECT session_user").await, "someone");
}

#[tokio::test]
async fn large_rows_and_copies_pass() {
    let agent = Agent::start(10).await;
    let mut lane = Lane::new(&agent).await;
    let frames = lane.query("SELECT repeat('x', 20000000)").await;
    assert_eq!(tags(&frames), "TDCZ");
    assert_eq!(frames[1].raw.len(), 20_000_000 + 11);
    assert_eq!(lane.ask("SELECT 'still here'").await, "still here");

    // 50 MB in, with a reply due for every row: a notice each, so that both directions are full at once.
    lane.query(
        "CREATE TABLE t (a text);
         CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS
           $$BEGIN RAISE NOTICE '%', repeat('n', 1000); RETURN NEW; END$$;
         CREATE TRIGGER shout BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION shout()",
    )
    .await;
    let mut packet = BytesMut::new();
    frontend::query("COPY t FROM STDIN", &mut packet);
    lane.send(packet).await;
    assert_eq!(lane.frame().await.unwrap().tag, tag::COPY_IN_RESPONSE);
    let requests = lane.sender();
    let feed = tokio::spawn(async move {
        let row = format!("{}\n", "y".repeat(1023));
        for _ in 0..500 {
            let mut packet = BytesMut::new();
            for _ in 0..100 {
                frontend::copy_data(row.as_bytes(), &mut packet);
            }
            let kind = Some(lane_request::Kind::Frames(packet.freeze()));
            timeout(DEADLINE, requests.send(LaneRequest { kind })).await.expect("COPY to go on").unwrap();
        }
        let mut packet = BytesMut::new();
        frontend::copy_done(&mut packet);
        requests.send(LaneRequest { kind: Some(lane_request::Kind::Frames(packet.freeze())) }).await.unwrap();
    });
    let frames = lane.exchange().await;
    feed.await.unwrap();
    assert_eq!(frames.iter().filter(|frame| frame.tag == tag::NOTICE_RESPONSE).count(), 50_000);
    assert_eq!(lane.ask("SELECT count(*) FROM t").await, "50000");

    // And out again.
    let frames = lane.query("COPY t TO STDOUT").await;
    assert_eq!(frames.iter().filter(|frame| frame.tag == tag::COPY_DATA).count(), 50_000);
}

#[tokio::test]
async fn a_row_too_long_for_a_message_ends_the_lane_with_a_reason() {
    let agent = Agent::start(10).await;
    let mut lane = Lane::new(&agent).await;
    let mut packet = BytesMut::new();
    frontend::query("SELECT repeat('x', 100000000)", &mut packet);
    lane.send(packet).await;
    assert_eq!(lane.frame().await.unwrap().tag, tag::ROW_DESCRIPTION);
    let (sqlstate, message) = error_of(&lane.frame().await.unwrap().raw);
    assert_eq!(sqlstate, "54000", "{message}");
    assert_eq!(lane.frame().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn cancel_interrupts_lanes_only() {
    let agent = Agent::start(10).await;
    let mut lane = Lane::new(&agent).await;
    let mut packet = BytesMut::new();
    frontend::query("SELECT 'begun'; SELECT pg_sleep(60)", &mut packet);
    lane.send(packet).await;
    // A simple query's replies are sent when it ends, so its beginning is seen from another lane.
    let mut watcher = Lane::new(&agent).await;
    let sleeping =
        format!("SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = {}", lane.opened.backend_pid);
    let asleep = async { while watcher.query(&sleeping).await[1].raw.last() != Some(&b't') {} };
    timeout(DEADLINE, asleep).await.expect("the query to run");
    let request = CancelRequest { backend_pid: lane.opened.backend_pid };
    agent.client().cancel(request).await.unwrap();
    let frames = lane.exchange().await;
    assert_eq!(tags(&frames), "TDCTEZ");
    assert_eq!(error_of(&frames[4].raw).0, "57014");
    assert_eq!(lane.ask("SELECT 'usable'").await, "usable");

    let foreign = CancelRequest { backend_pid: std::process::id() };
    assert_eq!(agent.client().cancel(foreign).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_dropped_lane_leaves_no_backend() {
    let mut agent = Agent::start(10).await;
    let mut watcher = Lane::new(&agent).await;
    let idle = Lane::new(&agent).await;
    let mut open = Lane::new(&agent).await;
    open.query("BEGIN; CREATE TABLE never (a int)").await;
    let busy = Lane::new(&agent).await;
    let mut packet = BytesMut::new();
    frontend::query("SELECT pg_sleep(600)", &mut packet);
    busy.send(packet).await;
    let mut copying = Lane::new(&agent).await;
    copying.query("CREATE TABLE c (a text)").await;
    let mut packet = BytesMut::new();
    frontend::query("COPY c FROM STDIN", &mut packet);
    copying.send(packet).await;
    assert_eq!(copying.frame().await.unwrap().tag, tag::COPY_IN_RESPONSE);
    let flooding = Lane::new(&agent).await;
    let mut packet = BytesMut::new();
    frontend::query("SELECT repeat('x', 1000) FROM generate_series(1, 100000000)", &mut packet);
    flooding.send(packet).await;
    let asleep = async {
        while watcher.ask("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'").await != "1" {}
    };
    timeout(DEADLINE, asleep).await.expect("the query to run");
    assert_eq!(agent.state().await.unwrap().lanes, 6);

    drop((idle, open, busy, copying, flooding));
    agent.until("one lane", |state| state.is_ok_and(|state| state.lanes == 1)).await.unwrap();
    let backends = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
    let ended = async { while watcher.ask(backends).await != "1" {} };
    timeout(DEADLINE, ended).await.expect("the backends to end");
    assert_eq!(watcher.ask("SELECT count(*) FROM pg_tables WHERE tablename = 'never'").await, "0");
    // The end of a client that is not in the middle of something leaves no error in PostgreSQL's log.
    assert!(!agent.log().contains("terminating connection"), "{}", agent.log());
}

#[tokio::test]
async fn lanes_are_capped_and_waited_for() {
    let agent = Agent::start(2).await;
    let mut client = agent.client();
    let first = Lane::new(&agent).await;
    let _second = Lane::new(&agent).await;
    let impatient = LaneOpen { wait_ms_max: 50, ..open_request() };
    match Lane::open(&mut client, impatient).await {
        Err(NoLane::Refused(refused)) => {
            assert_eq!(refused.sqlstate, "53300");
            assert!(refused.message.contains("all 2 backends of node n1"), "{}", refused.message);
        }
        other => panic!("{:?}", other.err()),
    }
    let waiting = tokio::spawn(async move { Lane::open(&mut client, open_request()).await.map(|_| ()) });
    tokio::task::yield_now().await;
    drop(first);
    timeout(DEADLINE, waiting).await.expect("the slot").unwrap().unwrap();
}

#[tokio::test]
async fn what_cannot_be_opened_is_refused() {
    let agent = Agent::start(10).await;
    let refusal = async |open: LaneOpen| match Lane::open(&mut agent.client(), open).await {
        Err(NoLane::Refused(refused)) => (refused.sqlstate, refused.message),
        other => panic!("{:?}", other.err()),
    };
    let (sqlstate, message) = refusal(LaneOpen { epoch: 8, ..open_request() }).await;
    assert_eq!((sqlstate.as_str(), message.as_str()), ("57P03", "group g1 is in epoch 7, not 8"));
    let (sqlstate, message) = refusal(LaneOpen { role: "nobody".into(), ..open_request() }).await;
    assert_eq!((sqlstate.as_str(), message.as_str()), ("28000", "role \"nobody\" does not exist"));
    let (sqlstate, message) = refusal(LaneOpen { database: "nowhere".into(), ..open_request() }).await;
    assert_eq!((sqlstate.as_str(), message.as_str()), ("3D000", "database \"nowhere\" does not exist"));
    let odd = HashMap::from([("no_such_setting".into(), "1".into())]);
    assert_eq!(refusal(LaneOpen { parameters: odd, ..open_request() }).await.0, "42704");
    assert_eq!(agent.state().await.unwrap().lanes, 0);

    let mut stranger = agent.client_on(agent.channel(), "wrong");
    match Lane::open(&mut stranger, open_request()).await {
        Err(NoLane::Failed(status)) => assert_eq!(status.code(), Code::Unauthenticated),
        other => panic!("{:?}", other.err()),
    }
    let naked = atoll_proto::v1::node_client::NodeClient::new(agent.channel()).state(StateRequest {}).await;
    assert_eq!(naked.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_killed_backend_says_its_last_words() {
    let agent = Agent::start(10).await;
    let mut lane = Lane::new(&agent).await;
    let mut killer = Lane::new(&agent).await;
    killer.query(&format!("SELECT pg_terminate_backend({})", lane.opened.backend_pid)).await;
    assert_eq!(error_of(&lane.frame().await.unwrap().raw).0, "57P01");
    assert_eq!(lane.frame().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn broken_requests_end_the_lane() {
    let agent = Agent::start(10).await;
    let mut lane = Lane::new(&agent).await;
    lane.send(BytesMut::from(&b"Q\0\0\0\xffhalf"[..])).await;
    assert_eq!(lane.reply().await.unwrap_err().code(), Code::InvalidArgument);

    let mut lane = Lane::new(&agent).await;
    let mut packet = BytesMut::new();
    frontend::query("SELECT pg_sleep(1)", &mut packet);
    lane.send(packet).await;
    lane.request(lane_request::Kind::Fragment(Default::default())).await;
    assert_eq!(lane.reply().await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn the_node_reports_itself() {
    let agent = Agent::start(10).await;
    let state = agent.state().await.unwrap();
    assert_eq!((state.name.as_str(), state.group.as_str(), state.zone.as_str()), ("n1", "g1", "here"));
    assert_eq!((state.role.as_str(), state.state.as_str(), state.reason.as_str()), ("primary", "running", ""));
    assert_eq!((state.epoch, state.capacity, state.lanes_max), (7, 2.0, 10));
    assert_eq!(state.postmaster_pid, agent.postmaster().unwrap().as_raw().cast_unsigned());
    assert_eq!(state.postgres_port, u32::from(agent.postgres_port));
    assert!(state.disk_free_bytes > 0);
    let mut states = agent.node().watch(StateRequest {}).await.unwrap().into_inner();
    for _ in 0..2 {
        let state = timeout(Duration::from_secs(5), states.message()).await.expect("a tick").unwrap().unwrap();
        assert_eq!(state.state, "running");
    }
    let lane = Lane::new(&agent).await;
    let metrics = scrape(&agent.metrics).await;
    for expected in ["atoll_agent_lanes 1\n", "atoll_agent_lane_opens_total 1\n"] {
        assert!(metrics.contains(expected), "{expected} in\n{metrics}");
    }
    drop(lane);
}

async fn scrape(address: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut text)).await.expect("metrics").unwrap();
    text
}

#[tokio::test]
async fn the_end_of_requests_ends_the_lane() {
    let mut agent = Agent::start(10).await;
    let mut lane = Lane::new(&agent).await;
    lane.query("BEGIN").await;
    let mut replies = lane.finish();
    let last = timeout(DEADLINE, replies.message()).await.expect("the end").unwrap();
    assert!(last.is_none_or(|reply| matches!(reply.kind, Some(Kind::Frames(_)))));
    agent.until("no lane", |state| state.is_ok_and(|state| state.lanes == 0)).await.unwrap();
}
