//! `atoll group`: who leads a group, and what the group promises.

use std::time::Duration;

use anyhow::{Context, bail};
use atoll_control::record::GroupRecord;
use atoll_proto::v1::group_request::Action;
use atoll_proto::v1::{
    ForceFailoverRequest, GroupRequest, GroupStatus, HistoryRequest, NodeState, NodeStatus, PauseRequest,
    SetPolicyRequest, SwitchoverRequest,
};
use clap::Subcommand;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::history;
use crate::options::Settings;
use crate::output;
use crate::process::POLL;
use crate::reach::{Reached, Target};
use crate::rpc;
use crate::status::human_bytes;

/// How long a new primary may take until clients are let in.
const SUCCESSOR_WITHIN: Duration = Duration::from_secs(60);

#[derive(Subcommand)]
pub enum Command {
    /// Let another node of a group become its primary; no commit is lost and no client sees an error
    Switchover {
        group: String,
        /// The new primary [default: the best replica]
        #[arg(long, value_name = "NODE")]
        to: Option<String>,
    },
    /// Make a replica primary although the last primary is lost and acknowledged commits may be, too
    Failover {
        group: String,
        /// The new primary [default: the replica that has received most]
        #[arg(long, value_name = "NODE")]
        to: Option<String>,
        /// Without it nothing is done: a group fails over by itself as long as no acknowledged commit can be lost
        #[arg(long, required = true)]
        force: bool,
    },
    /// Maintenance: from now on nobody is promoted and no PostgreSQL is restarted
    Pause { group: String },
    /// End of maintenance
    Resume { group: String },
    /// Change how many replicas must have a commit before it is acknowledged
    Policy {
        group: String,
        /// Replicas that must have a commit; 0 is asynchronous
        #[arg(long, value_name = "W", value_parser = clap::value_parser!(u32).range(..=15))]
        synchronous: u32,
        /// With too few replicas writes wait, instead of going on with fewer
        #[arg(long)]
        strict: bool,
    },
    /// Show who led when, and what happened
    History { group: String },
}

/// # Errors
/// When no coordinator answers, or the group's agents refuse.
pub async fn run(settings: &Settings, command: Command) -> anyhow::Result<()> {
    let target = Target::of(settings)?;
    let mut reached = Reached::first(&target, &target.token(settings)?).await?;
    let (group, action) = match command {
        Command::History { group } => return history::run(settings, &mut reached, &group).await,
        Command::Failover { group, to, force: _ } => {
            return failover(settings, &mut reached, &group, to.as_deref()).await;
        }
        Command::Switchover { group, to } => {
            let request = SwitchoverRequest { group: group.clone(), to: to.unwrap_or_default() };
            (group, Action::Switchover(request))
        }
        Command::Pause { group } => (group.clone(), Action::Pause(PauseRequest { group, paused: true })),
        Command::Resume { group } => (group.clone(), Action::Pause(PauseRequest { group, paused: false })),
        Command::Policy { group, synchronous, strict } => {
            (group.clone(), Action::SetPolicy(SetPolicyRequest { group, synchronous, strict }))
        }
    };
    let epoch = reached.group(&group)?.epoch;
    let moves = matches!(action, Action::Switchover(_));
    let mut message = ask(&mut reached, &group, "", action).await.map_err(rpc::plain)?;
    if moves {
        message = successor(&reached, &group, epoch).await?;
    }
    report(settings, &group, &message);
    Ok(())
}

/// Waits for whoever leads a group in a later epoch to let clients in. Returns a sentence about it.
async fn successor(reached: &Reached, name: &str, epoch: u64) -> anyhow::Result<String> {
    let group = reached.group(name)?;
    let deadline = Instant::now() + SUCCESSOR_WITHIN;
    loop {
        let ask = async |node: &NodeStatus| rpc::node_state(&node.agent_address, &reached.token).await;
        let states = join_all(group.nodes.iter().map(ask)).await;
        let leads = |state: &NodeState| state.role == "primary" && state.epoch > epoch;
        if let Some(state) = states.into_iter().flatten().find(leads) {
            return Ok(format!("{} is the primary of {name}", state.name));
        }
        if Instant::now() >= deadline {
            let seconds = SUCCESSOR_WITHIN.as_secs();
            bail!(
                "the old primary of {name} has stepped down, but no other serves after {seconds} s; see `atoll group history {name}`"
            );
        }
        sleep(POLL).await;
    }
}

/// Passes an action on to the group's leader, or to `node` unless it is empty. Returns what was done.
///
/// # Errors
/// What the agent or the coordinator says.
pub async fn ask(reached: &mut Reached, group: &str, node: &str, action: Action) -> Result<String, tonic::Status> {
    let request = GroupRequest { group: group.to_owned(), action: Some(action), node: node.to_owned() };
    Ok(reached.admin.group(request).await?.into_inner().message)
}

fn report(settings: &Settings, group: &str, message: &str) {
    if settings.json {
        output::show(serde_json::json!({ "group": group, "message": message }));
    } else {
        output::show(message);
    }
}

async fn failover(settings: &Settings, reached: &mut Reached, name: &str, to: Option<&str>) -> anyhow::Result<()> {
    let reply = reached.admin.history(HistoryRequest { group: name.to_owned() }).await;
    // What is not known of the group's promises cannot be counted on.
    let record = reply.ok().and_then(|reply| serde_json::from_str(&reply.into_inner().record).ok()).unwrap_or_default();
    let group = reached.group(name)?;
    let candidate = candidate(group, &record, to)?;
    output::say(losses(group, &record, candidate));
    output::confirm("Go on?", settings.yes)?;
    let node = candidate.name.clone();
    let action = Action::ForceFailover(ForceFailoverRequest { group: name.to_owned() });
    let epoch = reached.group(name)?.epoch;
    ask(reached, name, &node, action).await.map_err(rpc::plain)?;
    report(settings, name, &successor(reached, name, epoch).await?);
    Ok(())
}

/// The nodes whose agents answer.
fn answering(group: &GroupStatus) -> impl Iterator<Item = &NodeState> {
    group.nodes.iter().filter_map(|node| node.state.as_ref()).filter(|state| state.state != "unreachable")
}

/// How far a node's data goes: a later timeline has everything that it was begun with.
fn position(state: &NodeState) -> (u32, u64) {
    (state.timeline, state.lsn)
}

/// Who is to lead: the node that was named, or the one that has received most.
fn candidate<'a>(group: &'a GroupStatus, record: &GroupRecord, to: Option<&str>) -> anyhow::Result<&'a NodeState> {
    let name = &group.name;
    if let Some(primary) = answering(group).find(|state| state.role == "primary") {
        bail!(
            "{name} has a primary, {}; `atoll group switchover {name}` lets another node lead, without a loss",
            primary.name
        );
    }
    let Some(wanted) = to else {
        let best = answering(group).max_by_key(|state| (position(state), state.name == record.leader));
        return best.with_context(|| format!("no agent of {name} answers, so no node of it can lead"));
    };
    answering(group)
        .find(|state| state.name == wanted)
        .with_context(|| format!("{wanted} is no node of {name} whose agent answers"))
}

/// What an operator should know before a forced failover.
fn losses(group: &GroupStatus, record: &GroupRecord, candidate: &NodeState) -> String {
    let mut text = format!(
        "{} will lead {} with what it has: WAL up to {:X}/{:X} on timeline {}.",
        candidate.name,
        group.name,
        candidate.lsn >> 32,
        candidate.lsn & 0xFFFF_FFFF,
        candidate.timeline
    );
    for other in answering(group).filter(|other| other.name != candidate.name) {
        if other.timeline > candidate.timeline {
            text += &format!("\n{} is on the later timeline {}.", other.name, other.timeline);
        } else if position(other) > position(candidate) {
            text += &format!("\n{} has {} more.", other.name, human_bytes(other.lsn - candidate.lsn));
        }
    }
    let electorate = &record.electorate;
    let leader = if record.leader.is_empty() { "the last primary" } else { &record.leader };
    text += "\n";
    text += &if record.leader == candidate.name {
        "It was the last primary: it has every acknowledged commit.".to_owned()
    } else if electorate.reports == 1 && electorate.members.contains(&candidate.name) {
        "It is a synchronous replica: it has every acknowledged commit.".to_owned()
    } else {
        format!(
            "Commits that {leader} acknowledged may be missing there; those will be LOST. If {leader} can be started again, \
             that loses nothing."
        )
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_control::record::Electorate;
    use atoll_proto::v1::NodeStatus;

    fn group(nodes: &[(&str, &str, &str, u32, u64)]) -> GroupStatus {
        let nodes = nodes.iter().map(|&(name, role, state, timeline, lsn)| {
            let (name, role, state) = (name.to_owned(), role.to_owned(), state.to_owned());
            NodeStatus {
                state: Some(NodeState { name, role, state, timeline, lsn, ..Default::default() }),
                ..Default::default()
            }
        });
        GroupStatus { name: "g2".to_owned(), nodes: nodes.collect(), ..Default::default() }
    }

    #[test]
    fn the_node_that_received_most_is_chosen() {
        let nodes = group(&[
            ("a", "none", "unreachable", 9, 900),
            ("b", "none", "running", 1, 100),
            ("c", "none", "running", 1, 200),
        ]);
        let record = GroupRecord::default();
        assert_eq!(candidate(&nodes, &record, None).unwrap().name, "c");
        assert_eq!(candidate(&nodes, &record, Some("b")).unwrap().name, "b");
        assert!(candidate(&nodes, &record, Some("a")).is_err());
        let led = group(&[("a", "primary", "running", 1, 1), ("b", "replica", "running", 1, 1)]);
        let error = candidate(&led, &record, Some("b")).unwrap_err().to_string();
        assert!(error.contains("atoll group switchover g2"), "{error}");
    }

    #[test]
    fn what_may_be_lost_is_said() {
        let nodes = group(&[("b", "none", "running", 1, 0x1_0000_0100), ("c", "none", "running", 1, 0x1_0000_0500)]);
        let record = GroupRecord { leader: "a".to_owned(), ..Default::default() };
        let b = candidate(&nodes, &record, Some("b")).unwrap();
        let text = losses(&nodes, &record, b);
        assert!(text.contains("WAL up to 1/100 on timeline 1"), "{text}");
        assert!(text.contains("c has 1.0 KiB more") && text.contains("LOST"), "{text}");

        let electorate = Electorate { members: vec!["b".to_owned()], reports: 1 };
        let text = losses(&nodes, &GroupRecord { electorate, ..record.clone() }, b);
        assert!(text.contains("synchronous replica") && !text.contains("LOST"), "{text}");
        let text = losses(&nodes, &GroupRecord { leader: "b".to_owned(), ..record }, b);
        assert!(text.contains("It was the last primary") && !text.contains("LOST"), "{text}");
    }
}
