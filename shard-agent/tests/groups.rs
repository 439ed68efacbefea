//! Agents of one group as real processes, with an arbiter in this one: who leads, through every kind of death.

mod members;

use std::time::Duration;

use members::{Lab, TTL, signal};
use nix::sys::signal::Signal;
use tokio::time::sleep;

/// How many clients sleep.
const SLEEPERS: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_survives_what_kills_its_parts() {
    let mut lab = Lab::start(3).await;
    lab.settled(0).await;
    lab.write("CREATE TABLE kept (id int PRIMARY KEY)").await;
    lab.write("INSERT INTO kept VALUES (1)").await;

    // The postmaster alone: its agent starts it again, nothing else changes.
    let epoch = lab.leader().await.1;
    lab.kill_postmaster(0);
    lab.settled(0).await;
    assert_eq!(lab.leader().await, (0, epoch));
    lab.write("INSERT INTO kept VALUES (2)").await;

    // The whole machine: another node leads, with everything that was acknowledged.
    lab.kill_agent(0);
    lab.kill_postmaster(0);
    let second = lab.another_leads(0).await;
    lab.write("INSERT INTO kept VALUES (3)").await;
    assert_eq!(lab.ids("SELECT id FROM kept ORDER BY id").await, [1, 2, 3]);
    lab.restart_agent(0);
    lab.settled(second).await;

    // An agent that stands still: its fencer stops PostgreSQL, nobody else may.
    let postmaster = lab.postmaster(second).unwrap();
    lab.signal_agent(second, Signal::SIGSTOP);
    let third = lab.another_leads(second).await;
    assert!(!members::is_alive(postmaster), "the postmaster of a stopped agent outlived its lease");
    lab.write("INSERT INTO kept VALUES (4)").await;
    lab.signal_agent(second, Signal::SIGCONT);
    lab.settled(third).await;
    assert_eq!(lab.ids("SELECT id FROM kept ORDER BY id").await, [1, 2, 3, 4]);

    // An agent that is killed and comes back within its lease goes on as the leader it was.
    let before = lab.leader().await;
    lab.kill_agent(third);
    lab.restart_agent(third);
    lab.settled(third).await;
    assert_eq!(lab.leader().await, before);

    let history = lab.record().await.history;
    assert!(history.windows(2).all(|reigns| reigns[0].epoch < reigns[1].epoch), "{history:?}");
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_move_the_leadership_and_the_members() {
    let mut lab = Lab::start(2).await;
    lab.settled(0).await;
    lab.write("CREATE TABLE kept (id int PRIMARY KEY); INSERT INTO kept VALUES (1)").await;

    let encrypted = "SELECT count(*) FROM pg_stat_replication JOIN pg_stat_ssl USING (pid) WHERE ssl";
    assert_eq!(lab.ids(encrypted).await, [1]);
    assert!(lab.switch_over(1, "").await.unwrap_err().contains("does not lead"));
    assert!(lab.switch_over(0, "n9").await.unwrap_err().contains("not a standby"));
    // What has begun comes to its end first.
    let (slow, handed_over) = tokio::join!(
        lab.ids("BEGIN; INSERT INTO kept VALUES (2); SELECT id FROM kept, pg_sleep(0.4) WHERE id = 2; COMMIT"),
        async {
            lab.until("the transaction runs", async |lab| lab.ids(SLEEPERS).await == [1]).await;
            lab.switch_over(0, "n2").await
        }
    );
    handed_over.unwrap();
    assert_eq!(slow, [2]);
    lab.settled(1).await;

    // Its checkpoint may take longer than a lease: the leader leads on meanwhile.
    let postmaster = lab.postmaster(1);
    let checkpointer = lab.ids("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'").await[0];
    signal(checkpointer.try_into().unwrap(), Signal::SIGSTOP);
    let (handed_over, ()) = tokio::join!(lab.switch_over(1, "n1"), async {
        sleep(TTL + TTL).await;
        assert_eq!((lab.primaries().await, lab.postmaster(1)), (vec![1], postmaster));
        lab.write("INSERT INTO kept VALUES (3)").await;
        signal(checkpointer.try_into().unwrap(), Signal::SIGCONT);
    });
    handed_over.unwrap();
    lab.settled(0).await;
    lab.switch_over(0, "n2").await.unwrap();
    lab.settled(1).await;

    // Nobody takes over while the group is paused; afterwards somebody does.
    lab.pause(1, true).await.unwrap();
    lab.kill_agent(1);
    lab.kill_postmaster(1);
    sleep(TTL * 2).await;
    assert_eq!(lab.primaries().await, Vec::<usize>::new());
    lab.pause(0, false).await.unwrap();
    assert_eq!(lab.another_leads(1).await, 0);
    lab.restart_agent(1);
    lab.settled(0).await;
    assert_eq!(lab.ids("SELECT id FROM kept ORDER BY id").await, [1, 2, 3]);

    // A node that joins later gets the data; one that is removed stops.
    let third = lab.add().await;
    lab.settled(0).await;
    assert!(lab.remove(0, "n1").await.unwrap_err().contains("leads the group"));
    lab.remove(0, "n2").await.unwrap();
    lab.until("the removed node's PostgreSQL has stopped", async |lab| lab.postmaster(1).is_none()).await;
    assert_eq!(lab.record().await.members.keys().collect::<Vec<_>>(), ["n1", "n3"]);
    lab.switch_over(0, "").await.unwrap();
    assert_eq!(lab.another_leads(0).await, third);
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_lease_store_stops_nobody_whom_all_members_vouch_for() {
    let mut lab = Lab::start(2).await;
    lab.settled(0).await;
    let before = lab.leader().await;
    lab.stop_arbiter().await;
    for _ in 0..6 {
        sleep(TTL / 2).await;
        lab.write("SELECT 1").await;
        assert_eq!(lab.primaries().await, [0]);
    }
    lab.start_arbiter().await;
    lab.until("the lease is renewed", async |lab| lab.lease_ms(0).await > 0).await;
    sleep(TTL).await;
    assert_eq!(lab.leader().await, before);

    // Without the other member nobody vouches: at the deadline the leader stops.
    lab.stop_arbiter().await;
    lab.kill_agent(1);
    lab.until("the leader has stopped", async |lab| lab.primaries().await.is_empty()).await;
    lab.start_arbiter().await;
    lab.restart_agent(1);
    lab.until("somebody leads", async |lab| !lab.primaries().await.is_empty()).await;
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_alone_needs_no_lease() {
    let mut lab = Lab::start(1).await;
    lab.settled(0).await;
    let before = lab.leader().await;
    lab.stop_arbiter().await;
    sleep(TTL + Duration::from_secs(1)).await;
    lab.write("SELECT 1").await;
    lab.kill_agent(0);
    lab.kill_postmaster(0);
    lab.restart_agent(0);
    lab.until("it serves again", async |lab| lab.primaries().await == [0]).await;
    lab.start_arbiter().await;
    lab.until("it holds the lease", async |lab| lab.record().await.epoch == before.1).await;
    lab.add().await;
    lab.settled(0).await;
    lab.stop().await;
}
