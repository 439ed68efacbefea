//! A cluster in a lab: real processes, one machine each for nodes, members of etcd and coordinators, all on one bridge. Everything lives
//! in namespaces of the suite and is gone with it; only the folder with logs stays.

pub mod files;
pub mod machine;
pub mod network;
pub mod node;
pub mod processes;
pub mod service;
pub mod store;

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use atoll_proto::auth::Token;
use atoll_proto::channel;
use atoll_proto::v1::admin_client::AdminClient;
use atoll_proto::v1::{AddNodeRequest, BootstrapRequest, StatusReply, StatusRequest};
use nix::unistd::User;
use tokio::time::{Instant, sleep, timeout};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use machine::Machine;
use node::Node;
use service::{Service, Spec};
use store::Store;

/// How long a new cluster may take until it is whole.
const START_MAX: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(100);
/// Logical databases made at the beginning.
const DATABASES: [&str; 2] = ["app", "postgres"];
/// The machines' own memory for what PostgreSQL keeps under /dev/shm.
const SHM_BYTES: u64 = 128 << 20;
/// OS user of every server.
pub const OWNER: &str = "postgres";
const SHARDS: u32 = 12;

/// What to build.
#[derive(Clone, Debug)]
pub struct Topology {
    pub groups: u8,
    /// Nodes of each group.
    pub nodes: u8,
    /// Members of etcd; none: groups of one node without leases.
    pub stores: u8,
    pub coordinators: u8,
    /// Size of the file system in memory that holds a node's data; `None` puts it on the disk.
    pub data_bytes: Option<u64>,
    /// Whether the last node of each group gets a clock that can be stepped.
    pub clocks: bool,
    /// Capacities of a group's nodes, in order; 1 for those beyond.
    pub capacities: Vec<f64>,
}

impl Topology {
    /// Groups on the disk, with etcd and two coordinators.
    pub fn of(groups: u8, nodes: u8) -> Topology {
        let (data_bytes, clocks, capacities) = (None, false, Vec::new());
        Topology { groups, nodes, stores: 3, coordinators: 2, data_bytes, clocks, capacities }
    }
}

/// Where programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Of atoll-agent and atoll-coordinator.
    pub own: PathBuf,
    /// Of PostgreSQL's servers.
    pub postgres: PathBuf,
}

impl Programs {
    /// Copies of the own programs in `dir`: those of root's builds cannot be reached by the servers' user, and builds may go on meanwhile.
    ///
    /// # Errors
    /// When one is missing or cannot be copied.
    fn copied_to(&self, dir: &Path) -> Result<Programs> {
        let own = dir.join("programs");
        fs::create_dir(&own)?;
        for name in ["atoll-agent", "atoll-coordinator"] {
            let from = self.own.join(name);
            fs::copy(&from, own.join(name)).with_context(|| format!("copying {}", from.display()))?;
        }
        Ok(Programs { own, postgres: self.postgres.clone() })
    }
}

pub struct Coordinator {
    pub name: String,
    pub service: Arc<Service>,
}

/// A running cluster.
pub struct Lab {
    pub dir: PathBuf,
    pub nodes: Vec<Node>,
    pub store: Store,
    pub coordinators: Vec<Coordinator>,
    pub token: Token,
    pub topology: Topology,
}

pub type Admin = AdminClient<InterceptedService<Channel, Token>>;

/// The user that servers run as: user and group id.
///
/// # Errors
/// When there is none.
pub fn owner() -> Result<(u32, u32)> {
    let user = User::from_name(OWNER)?.with_context(|| format!("there is no OS user {OWNER}"))?;
    Ok((user.uid.as_raw(), user.gid.as_raw()))
}

/// Makes a folder for the servers' user.
///
/// # Errors
/// When it cannot be made.
pub fn make_dir(path: &Path, owner: (u32, u32)) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
    chown(path, Some(owner.0), Some(owner.1))?;
    Ok(())
}

/// Makes the folder of a lab, for which `/tmp` is the place.
///
/// # Errors
/// When it exists and is not empty.
pub fn make_lab_dir(dir: &Path) -> Result<()> {
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("the folder {} is not empty", dir.display());
    }
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

impl Lab {
    /// Builds the cluster in `dir` and waits until every node has its place and SQL is accepted.
    ///
    /// # Errors
    /// When a part does not start; the message names its log.
    pub async fn start(dir: &Path, topology: Topology, programs: &Programs) -> Result<Lab> {
        let owner = owner()?;
        make_lab_dir(dir)?;
        let programs = &programs.copied_to(dir)?;
        let token_file = dir.join("token");
        let secret = format!("{:032x}", rand::random::<u128>());
        fs::write(&token_file, &secret)?;
        fs::set_permissions(&token_file, fs::Permissions::from_mode(0o600))?;
        chown(&token_file, Some(owner.0), Some(owner.1))?;
        let store = Store::start(dir, topology.stores, owner).await?;
        let mut nodes = Vec::new();
        for group in 1..=topology.groups {
            for number in 1..=topology.nodes {
                nodes.push(Node::start(dir, (group, number), &topology, &store.endpoints(), programs).await?);
            }
        }
        let mut lab =
            Lab { dir: dir.to_owned(), nodes, store, coordinators: Vec::new(), token: Token::new(&secret)?, topology };
        lab.settle(Lab::waiting_for_primaries).await?;
        lab.start_coordinators(programs).await?;
        lab.register().await?;
        lab.settle(Lab::waiting_for_replicas).await?;
        Ok(lab)
    }

    /// The nodes of a group, by its name.
    pub fn group(&self, group: &str) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.group == group)
    }

    /// Names of the groups; the first is home.
    pub fn groups(&self) -> Vec<String> {
        (1..=self.topology.groups).map(|number| format!("g{number}")).collect()
    }

    /// The node that says it is its group's primary; of several the one with the highest epoch.
    pub async fn primary(&self, group: &str) -> Option<&Node> {
        let mut best: Option<(u64, &Node)> = None;
        for node in self.group(group) {
            if let Some(state) = node.state().await
                && state.role == "primary"
                && best.is_none_or(|(epoch, _)| state.epoch > epoch)
            {
                best = Some((state.epoch, node));
            }
        }
        best.map(|(_, node)| node)
    }

    /// Addresses of the coordinators, host:port.
    pub fn coordinator_addresses(&self) -> Vec<String> {
        self.coordinators.iter().map(|c| format!("{}:{}", c.service.machine.address, files::COORDINATOR_PORT)).collect()
    }

    /// A client for the admin service of one coordinator.
    ///
    /// # Errors
    /// When its address is malformed.
    pub fn admin(&self, coordinator: &Coordinator) -> Result<Admin> {
        let address = format!("{}:{}", coordinator.service.machine.address, files::COORDINATOR_PORT);
        Ok(AdminClient::with_interceptor(channel::connect_lazy(&address, None)?, self.token.clone()))
    }

    /// What one coordinator says of the cluster.
    ///
    /// # Errors
    /// When it does not answer within 5 s, or refuses.
    pub async fn status(&self, coordinator: &Coordinator) -> Result<StatusReply> {
        let mut admin = self.admin(coordinator)?;
        let reply = timeout(Duration::from_secs(5), admin.status(StatusRequest {})).await;
        Ok(reply.with_context(|| format!("{} gives no status within 5 s", coordinator.name))??.into_inner())
    }

    /// Stops everything in an orderly way.
    pub async fn stop(&self) {
        for coordinator in &self.coordinators {
            coordinator.service.stop().await;
        }
        for node in &self.nodes {
            node.agent.stop().await;
        }
        self.store.stop().await;
    }

    /// What is not yet as it should be; empty when every node has its place: one primary per group, all others streaming from it.
    pub async fn waiting_for_replicas(&self) -> Vec<String> {
        let mut waiting = self.waiting_for_primaries().await;
        for node in &self.nodes {
            match node.state().await {
                None => waiting.push(format!("the agent of {} does not answer", node.name)),
                Some(state) if state.role == "none" || state.state != "running" => {
                    waiting.push(format!("{} is {} {} {}", node.name, state.role, state.state, state.reason));
                }
                Some(_) => {}
            }
        }
        for group in self.groups() {
            let Some(primary) = self.primary(&group).await else { continue };
            let streaming = primary.ask("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'").await;
            let wanted = self.topology.nodes - 1;
            match streaming {
                Ok(count) if count == wanted.to_string() => {}
                Ok(count) => waiting.push(format!("{count} of {wanted} replicas stream from {}", primary.name)),
                Err(error) => waiting.push(format!("{}: {error:#}", primary.name)),
            }
        }
        waiting
    }

    async fn waiting_for_primaries(&self) -> Vec<String> {
        let mut waiting = Vec::new();
        for group in self.groups() {
            if self.primary(&group).await.is_none() {
                waiting.push(format!("{group} has no primary"));
            }
        }
        waiting
    }

    /// Waits until `missing` is empty.
    async fn settle(&self, missing: impl AsyncFn(&Lab) -> Vec<String>) -> Result<()> {
        let deadline = Instant::now() + START_MAX;
        loop {
            let waiting = missing(self).await;
            if waiting.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("after {START_MAX:?}: {}; logs are in {}", waiting.join("; "), self.dir.display());
            }
            sleep(POLL).await;
        }
    }

    async fn start_coordinators(&mut self, programs: &Programs) -> Result<()> {
        let owner = owner()?;
        let home: Vec<String> = self.group("g1").map(Node::agent_address).collect();
        for number in 1..=self.topology.coordinators {
            let name = format!("coordinator-{number}");
            let folder = self.dir.join(&name);
            make_dir(&folder, owner)?;
            let machine = Arc::new(Machine::start(&name, Ipv4Addr::new(10, 77, 200, number)).await?);
            network::connect(&machine).await?;
            let text = files::coordinator(&name, &machine.address.to_string(), &self.dir.join("token"), &home);
            let config = folder.join("coordinator.toml");
            fs::write(&config, text)?;
            let spec = Spec {
                program: programs.own.join("atoll-coordinator"),
                arguments: vec!["--config".to_owned(), config.to_string_lossy().into_owned()],
                environment: Vec::new(),
                log: folder.join("coordinator.log"),
                owner,
            };
            let service = Service::start(&name, machine, spec);
            self.coordinators.push(Coordinator { name, service });
            // The others read the directory that the first one makes.
            if number == 1 {
                self.settle(Lab::waiting_for_admin).await?;
            }
        }
        Ok(())
    }

    async fn waiting_for_admin(&self) -> Vec<String> {
        let mut waiting = Vec::new();
        for coordinator in &self.coordinators {
            if let Err(error) = self.status(coordinator).await {
                waiting.push(format!("{}: {error:#}", coordinator.name));
            }
        }
        waiting
    }

    /// Makes the groups and the databases known to the cluster, as `atoll up` does.
    async fn register(&self) -> Result<()> {
        let first = self.coordinators.first().context("a cluster without coordinators")?;
        let mut admin = self.admin(first)?;
        for node in &self.nodes {
            let request = AddNodeRequest {
                name: node.name.clone(),
                group: node.group.clone(),
                zone: "lab".to_owned(),
                capacity: node.capacity,
                agent_address: node.agent_address(),
                agent_socket: String::new(),
            };
            admin.add_node(request).await.with_context(|| format!("registering {}", node.name))?;
        }
        let databases = DATABASES.map(str::to_owned).to_vec();
        let request = BootstrapRequest { databases, shards: SHARDS, superuser_password: String::new() };
        admin.bootstrap(request).await.context("creating databases and shards")?;
        self.settle(Lab::waiting_for_admin).await
    }
}
