//! Debian's Patroni with its default times (TTL 30 s, loop 10 s), for comparison: one group on the same kind of machines.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{Config, NoTls};

use crate::lab::files::POSTGRES_PORT;
use crate::lab::machine::Machine;
use crate::lab::node::first_value;
use crate::lab::service::{Service, Spec};
use crate::lab::store::Store;
use crate::lab::{make_dir, make_lab_dir, network, processes};

const NODES: u8 = 3;
const WHOLE_MAX: Duration = Duration::from_secs(180);
const ASK_MAX: Duration = Duration::from_secs(2);

struct Node {
    patroni: Arc<Service>,
    data_dir: PathBuf,
}

/// A running group.
pub struct Patroni {
    nodes: Vec<Node>,
    store: Store,
    dir: PathBuf,
}

impl Patroni {
    /// # Errors
    /// When it does not become whole.
    pub async fn start(dir: &Path, bindir: &Path) -> Result<Patroni> {
        let owner = crate::lab::owner()?;
        make_lab_dir(dir)?;
        let store = Store::start(dir, 3, owner).await?;
        let mut nodes = Vec::new();
        for number in 1..=NODES {
            let name = format!("p{number}");
            let home = dir.join(&name);
            make_dir(&home, owner)?;
            make_dir(&home.join("run"), owner)?;
            let machine = Arc::new(Machine::start(&name, Ipv4Addr::new(10, 77, 50, number)).await?);
            network::connect(&machine).await?;
            let config = home.join("patroni.yml");
            let address = machine.address.to_string();
            fs::write(&config, configuration(&name, &address, &home, bindir, &store.endpoints()))?;
            let spec = Spec {
                program: "/usr/bin/patroni".into(),
                arguments: vec![config.to_string_lossy().into_owned()],
                environment: vec![("HOME".to_owned(), home.to_string_lossy().into_owned())],
                log: home.join("patroni.log"),
                owner,
            };
            nodes.push(Node { patroni: Service::start(&name, machine, spec), data_dir: home.join("data") });
        }
        let patroni = Patroni { nodes, store, dir: dir.to_owned() };
        patroni.whole().await?;
        Ok(patroni)
    }

    /// Addresses of all servers.
    pub fn hosts(&self) -> Vec<(String, u16)> {
        self.nodes.iter().map(|node| (node.patroni.machine.address.to_string(), POSTGRES_PORT)).collect()
    }

    /// Waits until there is a primary from which all others stream.
    ///
    /// # Errors
    /// When that takes longer than three minutes.
    pub async fn whole(&self) -> Result<()> {
        let deadline = Instant::now() + WHOLE_MAX;
        loop {
            if let Some(primary) = self.primary().await {
                let streaming =
                    ask(primary, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'").await;
                if streaming.is_ok_and(|count| count == (NODES - 1).to_string()) {
                    return Ok(());
                }
            }
            if Instant::now() > deadline {
                bail!("Patroni's group is not whole after {WHOLE_MAX:?}; logs are in {}", self.dir.display());
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Kills the primary's postmaster, and with `and_patroni` also its Patroni, which stays dead until [`Patroni::release`].
    ///
    /// # Errors
    /// When there is no primary.
    pub async fn kill_primary(&self, and_patroni: bool) -> Result<()> {
        let primary = self.primary().await.context("Patroni's group has no primary")?;
        let postmaster = processes::postmaster(&primary.patroni.machine, &primary.data_dir);
        let postmaster = postmaster.context("the primary's postmaster is gone")?;
        if and_patroni {
            primary.patroni.hold(true);
            processes::signal(primary.patroni.pid(), Signal::SIGKILL);
        }
        processes::signal(Some(postmaster), Signal::SIGKILL);
        Ok(())
    }

    /// Lets dead Patronis start again.
    pub fn release(&self) {
        self.nodes.iter().for_each(|node| node.patroni.hold(false));
    }

    pub async fn stop(&self) {
        for node in &self.nodes {
            node.patroni.stop().await;
        }
        self.store.stop().await;
    }

    async fn primary(&self) -> Option<&Node> {
        for node in &self.nodes {
            if ask(node, "SELECT pg_is_in_recovery()").await.is_ok_and(|answer| answer == "f") {
                return Some(node);
            }
        }
        None
    }
}

async fn ask(node: &Node, sql: &str) -> Result<String> {
    let mut config = Config::new();
    config.host(node.patroni.machine.address.to_string()).port(POSTGRES_PORT).user("postgres").dbname("postgres");
    let (client, connection) = timeout(ASK_MAX, config.connect(NoTls)).await??;
    tokio::spawn(connection);
    Ok(first_value(&timeout(ASK_MAX, client.simple_query(sql)).await??))
}

/// patroni.yml: what Patroni takes for granted is not in it.
fn configuration(name: &str, address: &str, home: &Path, bindir: &Path, store: &[String]) -> String {
    let (home, bindir, hosts) = (home.display(), bindir.display(), store.join(","));
    format!(
        "scope: compared
name: {name}
restapi:
  listen: {address}:8008
  connect_address: {address}:8008
etcd3:
  hosts: {hosts}
bootstrap:
  dcs:
    ttl: 30
    loop_wait: 10
    postgresql:
      use_pg_rewind: true
  initdb:
    - encoding: UTF8
    - locale: C.UTF-8
    - data-checksums
  pg_hba:
    - local all all trust
    - host all all 10.77.0.0/16 trust
    - host replication all 10.77.0.0/16 trust
postgresql:
  listen: {address}:{POSTGRES_PORT}
  connect_address: {address}:{POSTGRES_PORT}
  data_dir: {home}/data
  bin_dir: {bindir}
  pgpass: {home}/pgpass
  authentication:
    superuser:
      username: postgres
    replication:
      username: replicator
  parameters:
    unix_socket_directories: {home}/run
    shared_buffers: 32MB
"
    )
}
