//! Calls to the other members' agents.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use atoll_control::decide::Position;
use atoll_control::record::Member;
use atoll_proto::auth::Token;
use atoll_proto::channel::connect_lazy;
use atoll_proto::v1::group_client::GroupClient;
use atoll_proto::v1::node_client::NodeClient;
use atoll_proto::v1::{JoinRequest, RecruitRequest, StateRequest, VouchRequest};
use tokio::time::timeout;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

type Client = GroupClient<InterceptedService<Channel, Token>>;

/// How long a member may take to report: it replays what it has received first.
const REPORT_WITHIN: Duration = Duration::from_secs(6);
const VOUCH_WITHIN: Duration = Duration::from_secs(1);
const JOIN_WITHIN: Duration = Duration::from_secs(10);

/// Channels to the other members, made on first use and kept.
pub struct Peers {
    group: String,
    me: String,
    token: Token,
    channels: Mutex<HashMap<String, (Member, Client)>>,
}

impl Peers {
    pub fn new(group: &str, me: &str, token: Token) -> Self {
        Self { group: group.to_owned(), me: me.to_owned(), token, channels: Mutex::default() }
    }

    fn client(&self, name: &str, member: &Member) -> Option<Client> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, client)) = channels.get(name)
            && known == member
        {
            return Some(client.clone());
        }
        let socket = (!member.agent_socket.is_empty()).then(|| Path::new(&member.agent_socket));
        let channel = connect_lazy(&member.agent_address, socket)
            .inspect_err(|error| tracing::error!(name, address = member.agent_address, %error, "no address"))
            .ok()?;
        let client = GroupClient::with_interceptor(channel, self.token.clone());
        channels.insert(name.to_owned(), (member.clone(), client.clone()));
        Some(client)
    }

    /// A member's report for a candidacy of this node; `Err` says why there is none.
    ///
    /// # Errors
    /// Its refusal, or why it cannot be asked.
    pub async fn report(&self, name: &str, member: &Member, epoch: u64) -> Result<Position, String> {
        let mut client = self.client(name, member).ok_or("its address is malformed")?;
        let request = RecruitRequest { group: self.group.clone(), candidate: self.me.clone(), epoch };
        match timeout(REPORT_WITHIN, client.recruit(request)).await {
            Err(_) => Err(format!("no answer within {} s", REPORT_WITHIN.as_secs())),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Ok(Ok(reply)) => {
                let reply = reply.into_inner();
                if reply.refusal.is_empty() {
                    Ok(Position { timeline: reply.timeline, lsn: reply.lsn })
                } else {
                    Err(reply.refusal)
                }
            }
        }
    }

    /// Whether every other member promises not to seek the lease for `ttl_ms`. Of an unknown group nobody does.
    pub async fn all_vouch(&self, members: &BTreeMap<String, Member>, epoch: u64, ttl_ms: u64) -> bool {
        if !members.contains_key(&self.me) {
            return false;
        }
        let ttl_ms = u32::try_from(ttl_ms).unwrap_or(u32::MAX);
        let ask = members.iter().filter(|(name, _)| **name != self.me).map(|(name, member)| async {
            let Some(mut client) = self.client(name, member) else { return false };
            let request = VouchRequest { group: self.group.clone(), leader: self.me.clone(), epoch, ttl_ms };
            match timeout(VOUCH_WITHIN, client.vouch(request)).await {
                Ok(Ok(reply)) => reply.into_inner().promised,
                Ok(Err(_)) | Err(_) => false,
            }
        });
        futures_util::future::join_all(ask).await.into_iter().all(|promised| promised)
    }

    /// How far a member's replica has replayed, as it says itself; `None` when it does not answer.
    pub async fn received(&self, name: &str, member: &Member) -> Option<u64> {
        let socket = (!member.agent_socket.is_empty()).then(|| Path::new(&member.agent_socket));
        let channel = connect_lazy(&member.agent_address, socket)
            .inspect_err(|error| tracing::error!(name, address = member.agent_address, %error, "no address"))
            .ok()?;
        let mut client = NodeClient::with_interceptor(channel, self.token.clone());
        let state = timeout(VOUCH_WITHIN, client.state(StateRequest {})).await.ok()?.ok()?.into_inner();
        Some(state.lsn)
    }

    /// Asks the leader to take this node in.
    ///
    /// # Errors
    /// Its refusal, or why it cannot be asked.
    pub async fn join(&self, leader: &str, member: &Member, request: JoinRequest) -> Result<(), String> {
        let mut client = self.client(leader, member).ok_or("its address is malformed")?;
        match timeout(JOIN_WITHIN, client.join(request)).await {
            Err(_) => Err(format!("no answer within {} s", JOIN_WITHIN.as_secs())),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Ok(Ok(_)) => Ok(()),
        }
    }
}
