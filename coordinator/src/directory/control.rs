//! The control side's own lanes: logged in as the superuser, opened for a purpose and closed after it. They live on the control
//! runtime, apart from the workers' pools.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atoll_planner::directory::{Group, Node};
use atoll_proto::auth::Token;
use atoll_proto::channel::connect_lazy;
use atoll_proto::v1::group_client::GroupClient;
use atoll_proto::v1::node_client::NodeClient;
use atoll_proto::v1::{NodeState, StateRequest};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use super::leaders::{Asker, Leader, Leaders};
use crate::error::{Error, Result};
use crate::lane::{Lane, LaneSpec, NodeChannel, ResultSet};
use crate::routing::Target;
use crate::worker::node_channel;

/// The superuser of every PostgreSQL server of the cluster.
pub const SUPERUSER: &str = "postgres";
/// How long a lane waits for a free slot of its node.
const SLOT_WAIT: Duration = Duration::from_secs(5);
/// How long opening a lane may take in all.
const OPEN_WITHIN: Duration = Duration::from_secs(8);
/// How long a group may be without a primary before an attempt is given up.
const LEADER_WITHIN: Duration = Duration::from_secs(3);
/// How long a node may take to say how it is.
const STATE_WITHIN: Duration = Duration::from_secs(3);

pub type NodeRpc = NodeClient<InterceptedService<Channel, Token>>;
pub type GroupRpc = GroupClient<InterceptedService<Channel, Token>>;

/// Channels to agents, made on first use and kept.
pub struct Control {
    token: Token,
    leaders: Arc<Leaders>,
    channels: Mutex<HashMap<String, Known>>,
}

/// A channel, and to which address and socket.
type Known = (String, String, Arc<NodeChannel>);

impl Control {
    pub fn new(token: Token, leaders: Arc<Leaders>) -> Self {
        Self { token, leaders, channels: Mutex::default() }
    }

    fn channel(&self, node: &Node) -> Result<Arc<NodeChannel>> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((address, socket, channel)) = channels.get(&node.name)
            && (address, socket) == (&node.agent_address, &node.agent_socket)
        {
            return Ok(channel.clone());
        }
        let channel = node_channel(&node.name, &node.agent_address, &node.agent_socket, &self.token)?;
        let entry = (node.agent_address.clone(), node.agent_socket.clone(), channel.clone());
        channels.insert(node.name.clone(), entry);
        Ok(channel)
    }

    /// A lane to a database of a primary, as the superuser.
    ///
    /// # Errors
    /// As [`Lane::open`]; [`Error::LaneLost`] also when it takes too long.
    pub async fn open(&self, leader: &Leader, database: &str) -> Result<Lane> {
        let channel = self.channel(&leader.node)?;
        let spec = LaneSpec {
            database,
            role: SUPERUSER,
            epoch: leader.epoch,
            replica: false,
            wait: SLOT_WAIT,
            fence: &leader.fence,
        };
        match tokio::time::timeout(OPEN_WITHIN, Lane::open(&channel, spec)).await {
            Ok(opened) => opened,
            Err(_) => Err(Error::unreachable(
                leader.node.name.clone(),
                format!("no answer within {} s", OPEN_WITHIN.as_secs()),
            )),
        }
    }

    /// A lane to a database of a node in whatever role, as the superuser: for questions.
    ///
    /// # Errors
    /// As [`Control::open`].
    pub async fn open_target(&self, target: &Target, database: &str) -> Result<Lane> {
        let channel = self.channel(&target.node)?;
        let spec = LaneSpec {
            database,
            role: SUPERUSER,
            epoch: target.epoch,
            replica: !target.is_primary,
            wait: SLOT_WAIT,
            fence: &target.fence,
        };
        Lane::open(&channel, spec).await
    }

    /// A lane to a database of a group's primary, as the superuser.
    ///
    /// # Errors
    /// As [`Control::open`]; 57P03 also when the group has no primary for some seconds.
    pub async fn open_group(&self, group: &Group, database: &str) -> Result<Lane> {
        let leader = self.leaders.wait(&group.name, Asker::Control, LEADER_WITHIN).await?;
        self.open(&leader, database).await
    }

    /// A client for the control path of the agent at `address`.
    ///
    /// # Errors
    /// [`Error::LaneLost`] when the address is malformed.
    pub fn node_rpc(&self, address: &str, socket: &str) -> Result<NodeRpc> {
        Ok(NodeClient::with_interceptor(connect(address, socket)?, self.token.clone()))
    }

    /// A client for what the agent at `address` does for its group.
    ///
    /// # Errors
    /// As [`Control::node_rpc`].
    pub fn group_rpc(&self, address: &str, socket: &str) -> Result<GroupRpc> {
        Ok(GroupClient::with_interceptor(connect(address, socket)?, self.token.clone()))
    }

    /// What the agent at `address` says of its node.
    ///
    /// # Errors
    /// [`Error::LaneLost`] when it does not answer within 3 s.
    pub async fn state(&self, address: &str, socket: &str) -> Result<NodeState> {
        let lost = |reason: String| Error::unreachable(address, reason);
        let mut client = self.node_rpc(address, socket)?;
        match tokio::time::timeout(STATE_WITHIN, client.state(StateRequest {})).await {
            Ok(Ok(state)) => Ok(state.into_inner()),
            Ok(Err(status)) => Err(lost(status.message().to_owned())),
            Err(_) => Err(lost(format!("no answer within {} s", STATE_WITHIN.as_secs()))),
        }
    }
}

fn connect(address: &str, socket: &str) -> Result<Channel> {
    let path = (!socket.is_empty()).then(|| Path::new(socket));
    connect_lazy(address, path).map_err(|error| Error::unreachable(address, error.to_string()))
}

/// Only the results that hold rows, of a message in which queries stand among BEGIN, SET and COMMIT.
pub fn selected(results: Vec<ResultSet>) -> Vec<ResultSet> {
    results.into_iter().filter(|set| set.tag.starts_with("SELECT")).collect()
}

/// Runs queries in one read-only snapshot, with every name in expressions and types coming out qualified.
///
/// # Errors
/// As [`Lane::query`]; the lane should be given up then.
pub async fn read(lane: &mut Lane, queries: &str) -> Result<Vec<ResultSet>> {
    let text = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = pg_catalog; {queries}; COMMIT"
    );
    lane.query(&text).await.map(selected)
}
