//! A data-path thread: one current-thread runtime whose sessions, lanes and channels never cross to another thread.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atoll_proto::auth::Token;
use atoll_proto::channel::{MESSAGE_BYTES_MAX, connect_lazy, is_on_this_host};
use atoll_proto::v1::lanes_client::LanesClient;

use crate::cluster::Cluster;
use crate::directory::leaders::Leader;
use crate::error::{Error, Result};
use crate::execute::Long;
use crate::lane::NodeChannel;
use crate::plans::PlanCache;
use crate::pool::{Origin, Pool, PoolLimits};
use crate::routing::Target;

/// What the sessions of one thread share.
pub struct Worker {
    pub cluster: Arc<Cluster>,
    pub plans: PlanCache,
    /// Where statements over several shards have taken long.
    pub long: Long,
    /// By group.
    primaries: Pools,
    /// By node.
    replicas: Pools,
}

type Pools = Mutex<HashMap<String, Arc<Pool>>>;

/// How often it is looked whether replicas are still there.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The way to an agent, for use on the current runtime.
///
/// # Errors
/// 57P03 when the address is not one.
pub fn node_channel(node: &str, address: &str, socket: &str, token: &Token) -> Result<Arc<NodeChannel>> {
    let socket = (!socket.is_empty()).then(|| Path::new(socket));
    let socket = socket.filter(|path| path.exists() && is_on_this_host(address));
    let channel = connect_lazy(address, socket).map_err(|error| Error::unreachable(node, error.to_string()))?;
    let client = LanesClient::with_interceptor(channel, token.clone())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    Ok(Arc::new(NodeChannel { node: node.into(), client, same_host: socket.is_some() }))
}

impl Worker {
    pub fn new(cluster: Arc<Cluster>) -> Self {
        let plans = PlanCache::new(cluster.config.plan_cache_bytes);
        Self { cluster, plans, long: Long::default(), primaries: Pools::default(), replicas: Pools::default() }
    }

    /// The pool of lanes to a primary. One of an earlier primary of the group is given up.
    ///
    /// # Errors
    /// 57P03 when its address is unusable.
    pub fn pool(&self, leader: &Arc<Leader>) -> Result<Arc<Pool>> {
        let in_use = || self.cluster.keeper.routing().in_use(&leader.node.name);
        self.pool_of(&self.primaries, &leader.group, leader.term, || Origin::primary(leader, in_use()))
    }

    /// The pool of lanes for reads to a replica.
    ///
    /// # Errors
    /// As [`Worker::pool`].
    pub fn replica_pool(&self, target: &Arc<Target>) -> Result<Arc<Pool>> {
        self.pool_of(&self.replicas, &target.node.name, target.term, || Origin::replica(target))
    }

    fn pool_of(&self, pools: &Pools, key: &str, term: u64, origin: impl FnOnce() -> Origin) -> Result<Arc<Pool>> {
        let mut pools = pools.lock().unwrap_or_else(PoisonError::into_inner);
        let known = pools.get(key);
        if let Some(pool) = known.filter(|pool| pool.origin().term == term) {
            return Ok(pool.clone());
        }
        let origin = origin();
        let node = &origin.node;
        let channel = match known.filter(|pool| pool.origin().node == *node) {
            Some(pool) => pool.channel().clone(),
            None => node_channel(&node.name, &node.agent_address, &node.agent_socket, &self.cluster.token)?,
        };
        let config = &self.cluster.config;
        let limits = PoolLimits {
            lanes_max: (config.pool_lanes_max / config.workers.max(1)).max(2),
            wait_max: Duration::from_millis(config.pool_wait_ms_max),
        };
        let pool = Arc::new(Pool::new(channel, origin, limits));
        if let Some(old) = pools.insert(key.to_owned(), pool.clone()) {
            old.retire();
        }
        Ok(pool)
    }

    /// Gives up what is kept of servers as soon as they are none any more; forever, on the worker's own runtime.
    pub async fn follow_leaders(self: Arc<Self>) {
        let leaders = self.cluster.keeper.leaders().clone();
        let mut changes = leaders.changes();
        loop {
            if let Ok(Err(_)) = tokio::time::timeout(LOOK_EVERY, changes.changed()).await {
                return;
            }
            for (pools, of_primaries) in [(&self.primaries, true), (&self.replicas, false)] {
                let mut pools = pools.lock().unwrap_or_else(PoisonError::into_inner);
                pools.retain(|key, pool| {
                    let origin = pool.origin();
                    let stays = match of_primaries {
                        true => leaders.last(key).is_some_and(|leader| leader.term == origin.term),
                        false => !origin.fence.is_cancelled(),
                    };
                    if !stays {
                        pool.retire();
                    }
                    stays
                });
            }
        }
    }
}
