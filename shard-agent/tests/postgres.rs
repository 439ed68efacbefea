//! PostgreSQL's life under an agent: stop, adoption, restart.

mod common;

use std::fs;
use std::process::Command;

use common::{Agent, Lane};
use nix::sys::signal::{Signal, kill};

#[tokio::test]
async fn sigterm_stops_postgresql() {
    let mut agent = Agent::start(10).await;
    let mut lane = Lane::new(&agent).await;
    lane.query("CREATE TABLE kept (a int)").await;
    agent.signal(Signal::SIGTERM);
    assert!(agent.ended().await.success(), "{}", agent.log());
    assert!(agent.postmaster().is_none());
    assert!(!agent.socket().exists());
    assert!(agent.log().contains("database system is shut down"), "{}", agent.log());
    // What the lane hears is the server's own farewell.
    assert_eq!(common::error_of(&lane.frame().await.unwrap().raw).0, "57P01");

    agent.respawn();
    agent.running().await;
    let mut lane = Lane::new(&agent).await;
    assert_eq!(lane.ask("SELECT count(*) FROM kept").await, "0");
}

#[tokio::test]
async fn a_killed_agent_leaves_postgresql_to_the_next() {
    let mut agent = Agent::start(10).await;
    let before = agent.state().await.unwrap();
    agent.signal(Signal::SIGKILL);
    agent.ended().await;
    assert!(agent.postmaster().is_some());
    agent.respawn();
    let after = agent.running().await;
    assert_eq!(after.postmaster_pid, before.postmaster_pid);
    assert_ne!(after.agent_pid, before.agent_pid);
    assert_eq!(Lane::new(&agent).await.ask("SELECT 1").await, "1");

    // The adopted postmaster is watched, and stopped, like one of its own.
    kill(agent.postmaster().unwrap(), Signal::SIGKILL).unwrap();
    let restarted = agent
        .until("a new postmaster", |state| {
            state.is_ok_and(|state| state.state == "running" && state.postmaster_pid != before.postmaster_pid)
        })
        .await;
    assert_eq!(restarted.unwrap().role, "primary");
    agent.signal(Signal::SIGTERM);
    assert!(agent.ended().await.success());
    assert!(agent.postmaster().is_none());
}

#[tokio::test]
async fn postgresql_is_restarted_when_it_dies() {
    let mut agent = Agent::start(10).await;
    let mut lane = Lane::new(&agent).await;
    let before = agent.state().await.unwrap().postmaster_pid;
    kill(agent.postmaster().unwrap(), Signal::SIGQUIT).unwrap();
    let last = loop {
        if let Err(status) = lane.frame().await {
            break status;
        }
    };
    assert_eq!(last.code(), tonic::Code::Unavailable);
    agent
        .until("a restart", |state| state.is_ok_and(|state| state.state == "running" && state.postmaster_pid != before))
        .await
        .unwrap();
    assert_eq!(Lane::new(&agent).await.ask("SELECT 1").await, "1");
}

#[tokio::test]
async fn a_start_that_fails_says_why() {
    let mut agent = Agent::start(10).await;
    let second = Command::new(env!("CARGO_BIN_EXE_atoll-agent"))
        .arg("--config")
        .arg(agent.dir.path().join("agent.toml"))
        .args(["--listen", "127.0.0.1:0", "--metrics-listen", ""])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another agent runs in"), "{said}");

    agent.signal(Signal::SIGTERM);
    assert!(agent.ended().await.success());
    let output = Command::new(env!("CARGO_BIN_EXE_atoll-agent"))
        .arg("--config")
        .arg(agent.dir.path().join("agent.toml"))
        .args(["--postgres-settings.no_such_setting", "1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("unrecognized configuration parameter \"no_such_setting\""), "{said}");
    assert!(agent.postmaster().is_none());
}

#[test]
fn the_command_line() {
    let run = |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_atoll-agent")).args(arguments).output().unwrap();
    let printed = run(&["--print-config", "--lanes-max", "5"]);
    assert!(printed.status.success());
    assert!(String::from_utf8_lossy(&printed.stdout).contains("lanes_max = 5\n"));
    let typo = run(&["--lanes-mx", "5"]);
    assert_eq!(typo.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&typo.stderr).contains("did you mean \"lanes_max\"?"));
    assert!(run(&["--version"]).status.success());
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    assert!(help.contains("--data-dir"), "{help}");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.toml"), "").unwrap();
    let bare = run(&["--config", folder.path().join("a.toml").to_str().unwrap()]);
    assert_eq!(bare.status.code(), Some(1));
}
