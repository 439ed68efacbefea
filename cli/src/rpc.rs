//! Calls to agents and coordinators.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use atoll_control::record::GroupRecord;
use atoll_proto::auth::Token;
use atoll_proto::channel;
use atoll_proto::v1::admin_client::AdminClient;
use atoll_proto::v1::group_client::GroupClient;
use atoll_proto::v1::node_client::NodeClient;
use atoll_proto::v1::{DescribeRequest, DrainRequest, NodeState, StateRequest, StatusReply, StatusRequest};
use tonic::Request;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

/// How long a question about a state may take.
const QUESTION: Duration = Duration::from_secs(3);
/// A coordinator asks all groups for their shards' sizes, each for up to 2 s.
const OVERVIEW: Duration = Duration::from_secs(5);

pub type Admin = AdminClient<InterceptedService<Channel, Token>>;

/// # Errors
/// When the file cannot be read or holds no token.
pub fn read_token(path: &Path) -> anyhow::Result<Token> {
    let secret = std::fs::read_to_string(path).with_context(|| format!("reading the token {}", path.display()))?;
    Token::new(&secret).with_context(|| format!("the token in {}", path.display()))
}

/// What one agent says of its node.
///
/// # Errors
/// When it does not answer within 3 s, or refuses.
pub async fn node_state(address: &str, token: &Token) -> anyhow::Result<NodeState> {
    let mut client = NodeClient::with_interceptor(channel::connect_lazy(address, None)?, token.clone());
    let reply = tokio::time::timeout(QUESTION, client.state(Request::new(StateRequest {}))).await;
    Ok(reply.context("no answer within 3 s")?.map_err(plain)?.into_inner())
}

/// A group's record, as one of its agents last read it.
///
/// # Errors
/// When it does not answer within 3 s, or refuses.
pub async fn group_record(address: &str, token: &Token) -> anyhow::Result<GroupRecord> {
    let mut client = GroupClient::with_interceptor(channel::connect_lazy(address, None)?, token.clone());
    let reply = tokio::time::timeout(QUESTION, client.describe(Request::new(DescribeRequest {}))).await;
    let reply = reply.context("no answer within 3 s")?.map_err(plain)?.into_inner();
    serde_json::from_str(&reply.record).context("the group's record")
}

/// A client for the admin service of the coordinator at `address` (host:port), connected when first used.
///
/// # Errors
/// When the address is malformed.
pub fn admin(address: &str, token: &Token) -> anyhow::Result<Admin> {
    Ok(AdminClient::with_interceptor(channel::connect_lazy(address, None)?, token.clone()))
}

/// What one coordinator says of the cluster.
///
/// # Errors
/// When it does not answer within 5 s, or refuses.
pub async fn cluster_status(address: &str, token: &Token) -> anyhow::Result<StatusReply> {
    let mut client = admin(address, token)?;
    let reply = tokio::time::timeout(OVERVIEW, client.status(Request::new(StatusRequest {}))).await;
    Ok(reply.context("no answer within 5 s")?.map_err(plain)?.into_inner())
}

/// Asks a coordinator to end its sessions; returns how many are left after the coordinator's own limit, or `at_most`.
///
/// # Errors
/// When it does not answer, or refuses.
pub async fn drain(address: &str, token: &Token, at_most: Duration) -> anyhow::Result<u32> {
    let mut client = admin(address, token)?;
    let reply = tokio::time::timeout(at_most + QUESTION, client.drain(Request::new(DrainRequest {}))).await;
    Ok(reply.context("no answer")?.map_err(plain)?.into_inner().sessions)
}

/// A gRPC status as one readable line.
pub fn plain(status: tonic::Status) -> anyhow::Error {
    match status.message() {
        "" => anyhow::anyhow!(status.code().description()),
        message => anyhow::anyhow!("{message}"),
    }
}
