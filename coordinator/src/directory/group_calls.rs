//! Calls of operators, passed on to the agents that can do them; and what agents remember of their groups.

use std::time::Duration;

use atoll_control::record::GroupRecord;
use atoll_planner::directory::Node;
use atoll_proto::v1::group_request::Action;
use atoll_proto::v1::{DescribeReply, DescribeRequest, GroupDone, GroupEvent, GroupRequest, HistoryReply};
use futures_util::future::join_all;
use tonic::Status;

use super::keeper::{DIRECTORY_DATABASE, Keeper};
use super::leaders::Asker;
use super::nodes::NodeReport;
use super::store;

/// How long an agent may take to say what it remembers.
const DESCRIBE_WITHIN: Duration = Duration::from_secs(2);
/// How long a group may be without a primary before a call that only that one does is given up.
const LEADER_WITHIN: Duration = Duration::from_secs(10);

fn nodes_of(keeper: &Keeper, group: &str) -> Result<Vec<NodeReport>, Status> {
    let nodes: Vec<NodeReport> = keeper.nodes().into_iter().filter(|report| report.group == group).collect();
    if nodes.is_empty() {
        let mut groups: Vec<String> = keeper.nodes().into_iter().map(|report| report.group).collect();
        groups.sort();
        groups.dedup();
        return Err(Status::not_found(format!("there is no group \"{group}\"; groups are: {}", groups.join(", "))));
    }
    Ok(nodes)
}

/// Has the right agent do what an operator wants of a group: its leader, or the node that the request names.
///
/// # Errors
/// NOT_FOUND for a group or node that there is not, UNAVAILABLE when the agent cannot be reached or the group has no primary; the agent's own,
/// under the node's name.
pub async fn call(keeper: &Keeper, request: GroupRequest) -> Result<GroupDone, Status> {
    let GroupRequest { group, action, node } = request;
    let action = action.ok_or_else(|| Status::invalid_argument("the request says nothing to be done"))?;
    let nodes = nodes_of(keeper, &group)?;
    let find = |name: &str| {
        let found = nodes.iter().find(|report| report.node.name == name).map(|report| report.node.clone());
        let names: Vec<&str> = nodes.iter().map(|report| report.node.name.as_str()).collect();
        found.ok_or_else(|| {
            Status::not_found(format!("group \"{group}\" has no node \"{name}\"; its nodes are: {}", names.join(", ")))
        })
    };
    let target = match &action {
        Action::ForceFailover(_) | Action::Rebuild(_) => find(&node)?,
        Action::Switchover(switchover) if !switchover.to.is_empty() => {
            find(&switchover.to)?;
            primary(keeper, &group).await?
        }
        Action::Remove(remove) => {
            find(&remove.name)?;
            primary(keeper, &group).await?
        }
        _ => primary(keeper, &group).await?,
    };
    let removed = match &action {
        Action::Remove(remove) => Some(remove.name.clone()),
        _ => None,
    };
    let done = pass_on(keeper, &target, &group, action).await;
    let done = done.map_err(|status| {
        Status::new(status.code(), format!("node \"{}\" of group \"{group}\": {}", target.name, status.message()))
    })?;
    if let Some(name) = removed {
        forget(keeper, &name).await?;
    }
    Ok(done)
}

async fn primary(keeper: &Keeper, group: &str) -> Result<Node, Status> {
    match keeper.leaders().wait(group, Asker::Control, LEADER_WITHIN).await {
        Ok(leader) => Ok(leader.node.clone()),
        Err(error) => {
            let fields = error.fields();
            Err(Status::unavailable(format!("{}: {}", fields.message(), fields.detail().unwrap_or_default())))
        }
    }
}

async fn pass_on(keeper: &Keeper, node: &Node, group: &str, action: Action) -> Result<GroupDone, Status> {
    let mut agent = keeper
        .control
        .group_rpc(&node.agent_address, &node.agent_socket)
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let group = group.to_owned();
    let done = match action {
        Action::Switchover(request) => agent.switchover(atoll_proto::v1::SwitchoverRequest { group, ..request }).await,
        Action::Pause(request) => agent.pause(atoll_proto::v1::PauseRequest { group, ..request }).await,
        Action::SetPolicy(request) => agent.set_policy(atoll_proto::v1::SetPolicyRequest { group, ..request }).await,
        Action::Remove(request) => agent.remove(atoll_proto::v1::RemoveRequest { group, ..request }).await,
        Action::ForceFailover(_) => agent.force_failover(atoll_proto::v1::ForceFailoverRequest { group }).await,
        Action::Rebuild(_) => agent.rebuild(atoll_proto::v1::RebuildRequest { group }).await,
    };
    done.map(tonic::Response::into_inner)
}

/// Takes a node that its group does not have any more out of the directory.
async fn forget(keeper: &Keeper, name: &str) -> Result<(), Status> {
    let forgotten = async {
        let home = keeper.home().await?;
        let mut lane = keeper.control.open_group(&home, DIRECTORY_DATABASE).await?;
        lane.query(&format!("BEGIN; {}; COMMIT", store::remove_node(name))).await?;
        drop(lane);
        keeper.refresh().await
    };
    forgotten.await.map_err(|error| {
        Status::unavailable(format!(
            "node \"{name}\" does not belong to its group any more, but the directory still names it: {error}; do it again"
        ))
    })
}

/// What the agents of some nodes remember; those that do not answer within 2 s are left out.
async fn describe(keeper: &Keeper, nodes: &[NodeReport]) -> Vec<DescribeReply> {
    let asked = nodes.iter().map(async |report| {
        let mut agent = keeper.control.group_rpc(&report.node.agent_address, &report.node.agent_socket).ok()?;
        let reply = tokio::time::timeout(DESCRIBE_WITHIN, agent.describe(DescribeRequest {})).await;
        reply.ok()?.ok().map(tonic::Response::into_inner)
    });
    join_all(asked).await.into_iter().flatten().collect()
}

fn epoch_of(reply: &DescribeReply) -> (u64, u64) {
    (serde_json::from_str::<GroupRecord>(&reply.record).map_or(0, |record| record.epoch), reply.read_ms)
}

fn merged(replies: Vec<DescribeReply>) -> Vec<GroupEvent> {
    let mut events: Vec<GroupEvent> = replies.into_iter().flat_map(|reply| reply.events).collect();
    events.sort_by(|a, b| (a.at_ms, &a.node).cmp(&(b.at_ms, &b.node)));
    events
}

/// A group's record, as the agent has it that knows the newest, and what has happened in it.
///
/// # Errors
/// NOT_FOUND for a group that there is not, UNAVAILABLE when none of its agents answers.
pub async fn history(keeper: &Keeper, group: &str) -> Result<HistoryReply, Status> {
    let replies = describe(keeper, &nodes_of(keeper, group)?).await;
    let record = replies.iter().max_by_key(|reply| epoch_of(reply)).map(|reply| reply.record.clone());
    let record =
        record.ok_or_else(|| Status::unavailable(format!("none of the agents of group \"{group}\" answers")))?;
    Ok(HistoryReply { record, events: merged(replies) })
}

/// What has happened in all groups, the oldest first.
pub async fn events(keeper: &Keeper) -> Vec<GroupEvent> {
    merged(describe(keeper, &keeper.nodes()).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_several_agents_are_one_story() {
        let event = |at_ms, node: &str| GroupEvent { at_ms, node: node.to_owned(), ..GroupEvent::default() };
        let reply = |events: Vec<GroupEvent>, epoch: u64| DescribeReply {
            record: format!("{{\"epoch\": {epoch}}}"),
            events,
            ..DescribeReply::default()
        };
        let replies = vec![reply(vec![event(1, "a"), event(5, "a")], 2), reply(vec![event(2, "b"), event(5, "b")], 3)];
        assert_eq!(replies.iter().map(epoch_of).max(), Some((3, 0)));
        let story: Vec<(u64, String)> = merged(replies).into_iter().map(|event| (event.at_ms, event.node)).collect();
        let expected = [(1, "a"), (2, "b"), (5, "a"), (5, "b")].map(|(at, node)| (at, node.to_owned()));
        assert_eq!(story, expected);
    }
}
