//! Which coordinator a command talks to: the one that was named, or the first of a local cluster's that answers.

use anyhow::{Context, bail};
use atoll_proto::auth::Token;
use atoll_proto::v1::{GroupStatus, StatusReply};

use crate::layout::{self, Cluster, DEFAULT_PORT};
use crate::options::Settings;
use crate::rpc::{self, Admin};

/// Where the settings lead.
pub enum Target {
    /// The cluster in the settings' folder.
    Folder(Cluster),
    /// host:port of a coordinator.
    Coordinator(String),
}

impl Target {
    /// A port of the folder's own cluster leads to the folder, which adds what it knows.
    ///
    /// # Errors
    /// When no coordinator was named and there is no cluster in the folder.
    pub fn of(settings: &Settings) -> anyhow::Result<Self> {
        let host = settings.host.as_deref().unwrap_or("127.0.0.1");
        let cluster = Cluster::load(&settings.dir);
        if settings.host.is_none() && settings.port.is_none() {
            return cluster.map(Self::Folder);
        }
        let loopback = host == "127.0.0.1" || host == "localhost";
        match cluster {
            Ok(cluster) if loopback && cluster.coordinators.iter().any(|c| Some(c.port) == settings.port) => {
                Ok(Self::Folder(cluster))
            }
            _ => Ok(Self::Coordinator(format!("{host}:{}", settings.port.unwrap_or(DEFAULT_PORT)))),
        }
    }

    /// # Errors
    /// When the token cannot be read.
    pub fn token(&self, settings: &Settings) -> anyhow::Result<Token> {
        rpc::read_token(&settings.token_file.clone().unwrap_or_else(|| layout::token_file(&settings.dir)))
    }

    fn addresses(&self) -> Vec<String> {
        match self {
            Self::Folder(cluster) => cluster.coordinators.iter().map(|c| layout::loopback(c.port)).collect(),
            Self::Coordinator(address) => vec![address.clone()],
        }
    }
}

/// A coordinator that answered.
pub struct Reached {
    pub admin: Admin,
    pub token: Token,
    /// What it said.
    pub status: StatusReply,
}

impl Reached {
    /// The first of the target's coordinators that answers.
    ///
    /// # Errors
    /// Why each of them does not.
    pub async fn first(target: &Target, token: &Token) -> anyhow::Result<Self> {
        let mut failures = Vec::new();
        for address in target.addresses() {
            match rpc::cluster_status(&address, token).await {
                Ok(status) => return Ok(Self { admin: rpc::admin(&address, token)?, token: token.clone(), status }),
                Err(error) => failures.push(format!("{address}: {error:#}")),
            }
        }
        bail!("no coordinator answers ({})", failures.join("; "))
    }

    /// # Errors
    /// When there is no such group.
    pub fn group(&self, name: &str) -> anyhow::Result<&GroupStatus> {
        self.status.groups.iter().find(|group| group.name == name).with_context(|| {
            let names: Vec<_> = self.status.groups.iter().map(|group| group.name.as_str()).collect();
            format!("there is no group {name}; there are {}", names.join(", "))
        })
    }

    /// The group that a node belongs to.
    pub fn group_of(&self, node: &str) -> Option<&GroupStatus> {
        let is_it =
            |group: &&GroupStatus| group.nodes.iter().flat_map(|node| &node.state).any(|state| state.name == node);
        self.status.groups.iter().find(is_it)
    }
}
