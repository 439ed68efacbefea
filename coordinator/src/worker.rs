//! A data-path thread: one current-thread runtime whose sessions, lanes and channels never cross to another thread.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atoll_planner::directory::{Directory, GroupIndex};
use atoll_proto::auth::Token;
use atoll_proto::channel::{MESSAGE_BYTES_MAX, connect_lazy};
use atoll_proto::v1::lanes_client::LanesClient;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::lane::NodeChannel;
use crate::plans::PlanCache;
use crate::pool::{Pool, PoolLimits};

/// What the sessions of one thread share.
pub struct Worker {
    pub cluster: Arc<Cluster>,
    pub plans: PlanCache,
    /// By node name.
    pools: Mutex<HashMap<String, Arc<Pool>>>,
}

/// The way to an agent, for use on the current runtime.
///
/// # Errors
/// 57P03 when the address is not one.
pub fn node_channel(node: &str, address: &str, socket: &str, token: &Token) -> Result<Arc<NodeChannel>> {
    let socket = (!socket.is_empty()).then(|| Path::new(socket)).filter(|path| path.exists());
    let channel = connect_lazy(address, socket)
        .map_err(|error| Error::LaneLost { node: node.to_owned(), reason: error.to_string() })?;
    let client = LanesClient::with_interceptor(channel, token.clone())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    Ok(Arc::new(NodeChannel { node: node.into(), client, same_host: socket.is_some() }))
}

impl Worker {
    pub fn new(cluster: Arc<Cluster>) -> Self {
        let plans = PlanCache::new(cluster.config.plan_cache_bytes);
        Self { cluster, plans, pools: Mutex::default() }
    }

    /// The pool of lanes to a group's primary.
    ///
    /// # Errors
    /// 57P03 when the group has no node that could serve.
    pub fn pool(&self, directory: &Directory, group: GroupIndex) -> Result<Arc<Pool>> {
        let group = directory
            .groups
            .get(group.0)
            .ok_or_else(|| Error::internal(format!("the directory has no group number {}", group.0)))?;
        let node = group
            .nodes
            .first()
            .ok_or_else(|| Error::LaneLost { node: group.name.clone(), reason: "the group has no node".to_owned() })?;
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&node.name)
            && pool.epoch() == group.epoch
        {
            return Ok(pool.clone());
        }
        let channel = node_channel(&node.name, &node.agent_address, &node.agent_socket, &self.cluster.token)?;
        let config = &self.cluster.config;
        let limits = PoolLimits {
            lanes_max: (config.pool_lanes_max / config.workers.max(1)).max(2),
            wait_max: Duration::from_millis(config.pool_wait_ms_max),
        };
        let pool = Arc::new(Pool::new(channel, group.epoch, limits));
        if let Some(old) = pools.insert(node.name.clone(), pool.clone()) {
            old.close_idle();
        }
        Ok(pool)
    }
}
