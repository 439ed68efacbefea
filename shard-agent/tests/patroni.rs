//! Agents beside Debian's Patroni, with etcd: they report what it makes of the nodes, and let go in time when it dies.

mod common;
mod patroni_lab;

use std::time::{Duration, Instant};

use atoll_proto::v1::{DescribeRequest, LaneOpen, SwitchoverRequest};
use common::{Lane, NoLane, open_request};
use patroni_lab::{Lab, RETRY_TIMEOUT, TTL};
use tokio::time::{sleep, timeout};
use tonic::Code;

async fn refusal(lab: &Lab, number: usize, epoch: u64) -> String {
    let open = LaneOpen { epoch, ..open_request() };
    match Lane::open(&mut lab.lanes(number), open).await {
        Err(NoLane::Refused(refused)) => {
            assert_eq!(refused.sqlstate, "57P03");
            refused.message
        }
        Err(NoLane::Failed(status)) => panic!("{status}"),
        Ok(_) => panic!("node {number} opened a lane in epoch {epoch}"),
    }
}

async fn lane(lab: &Lab, number: usize, epoch: u64, replica: bool) -> Lane {
    Lane::open(&mut lab.lanes(number), LaneOpen { epoch, replica, ..open_request() }).await.unwrap()
}

/// Whether the lane's stream comes to an end.
async fn ends(mut lane: Lane) -> bool {
    let end = async { while let Ok(Some(_)) = lane.reply().await {} };
    timeout(Duration::from_secs(10), end).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_follow_patroni() {
    let mut lab = Lab::new();
    lab.start_agent(0);
    let state = lab.until(0, "the agent answers", |state| !state.role.is_empty()).await;
    assert_eq!((state.role.as_str(), state.postmaster_pid), ("none", 0));
    lab.start_etcd().await;
    lab.start_patroni(0);
    let first = lab.until(0, "it is primary", |state| state.role == "primary").await;
    assert_eq!((first.state.as_str(), first.epoch), ("running", u64::from(first.timeline)));
    assert!(first.lsn > 0 && first.postmaster_pid > 0 && first.lease_ms > 0, "{first:?}");
    lab.start_patroni(1);
    lab.start_agent(1);
    let replica = lab.until(1, "it is a replica that has caught up", |state| {
        state.role == "replica" && state.lag_bytes == 0 && state.lag_ms < 60_000
    });
    assert_eq!(replica.await.epoch, first.epoch);

    let mut before = lane(&lab, 0, first.epoch, false).await;
    before.query("CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)").await;
    assert_eq!(lane(&lab, 1, first.epoch, true).await.ask("SELECT pg_is_in_recovery()").await, "t");
    assert!(refusal(&lab, 1, first.epoch).await.contains("is a replica"));

    // Orders are Patroni's to take.
    let order = SwitchoverRequest { group: "g1".into(), to: "p2".into() };
    let refused = lab.group(0).switchover(order).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("group g1 is run by Patroni: use patronictl switchover"), "{refused}");
    let described = lab.group(0).describe(DescribeRequest {}).await.unwrap().into_inner();
    assert_eq!((described.leader.as_str(), described.leader_epoch), ("p1", first.epoch));

    lab.switch_over(0, 1);
    let second = lab.until(1, "it is primary", |state| state.role == "primary").await;
    assert!(second.epoch > first.epoch, "{second:?} after {first:?}");
    lab.until(0, "it follows", |state| state.role == "replica" && state.epoch == second.epoch).await;
    assert!(ends(before).await, "a lane outlived its primary");
    let mut held = lane(&lab, 1, second.epoch, false).await;
    assert_eq!(held.ask("SELECT count(*) FROM kept").await, "1");
    assert!(refusal(&lab, 0, second.epoch).await.contains("is a replica"));
    assert!(refusal(&lab, 1, first.epoch).await.contains("epoch"));

    // PostgreSQL goes on without its Patroni; the agent serves no longer than the lock lasts.
    let postmaster = lab.postmaster(1).unwrap();
    lab.kill_patroni(1);
    let killed = Instant::now();
    assert_eq!(held.ask("SELECT count(*) FROM kept").await, "1");
    let stopped = loop {
        let (mine, other) = (lab.state(1).await.unwrap(), lab.state(0).await.unwrap());
        assert!(mine.role != "primary" || other.role != "primary", "two primaries: {mine:?} {other:?}");
        if mine.role != "primary" {
            break mine;
        }
        let bound = TTL - RETRY_TIMEOUT + Duration::from_secs(2);
        assert!(killed.elapsed() < bound, "still primary {:?} after Patroni died", killed.elapsed());
        sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((stopped.role.as_str(), stopped.postmaster_pid), ("none", postmaster));
    assert!(ends(held).await, "a lane outlived the lock");
    assert!(refusal(&lab, 1, second.epoch).await.contains("Patroni"));
    assert_eq!(lab.postmaster(1), Some(postmaster), "the agent stopped PostgreSQL");
    let third = lab.until(0, "it is promoted", |state| state.role == "primary").await;
    assert!(third.epoch > second.epoch, "{third:?} after {second:?}");
    assert_eq!(lane(&lab, 0, third.epoch, false).await.ask("SELECT count(*) FROM kept").await, "1");

    lab.start_patroni(1);
    lab.until(1, "it comes back as a replica", |state| state.role == "replica" && state.epoch == third.epoch).await;

    // PostgreSQL is not the agent's to stop either.
    let postmaster = lab.postmaster(0);
    lab.stop_agent(0);
    assert!(postmaster.is_some());
    assert_eq!(lab.postmaster(0), postmaster);
}
