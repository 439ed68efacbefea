//! The lease store: members of etcd, each on a machine of its own.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

use super::files::{self, ETCD_PORT};
use super::machine::Machine;
use super::service::{Service, Spec};
use super::{make_dir, network};

const ELECTION_MAX: Duration = Duration::from_secs(30);

/// All members; none in a cluster without leases.
pub struct Store {
    pub members: Vec<Arc<Service>>,
}

impl Store {
    /// Starts `count` members and waits until they have a leader.
    ///
    /// # Errors
    /// When they find none.
    pub async fn start(dir: &Path, count: u8, owner: (u32, u32)) -> Result<Store> {
        let all: Vec<(String, String)> = (1..=count).map(|n| (format!("etcd-{n}"), address(n).to_string())).collect();
        let mut members = Vec::new();
        for (number, (name, ip)) in (1..=count).zip(&all) {
            let folder = dir.join(name);
            make_dir(&folder, owner)?;
            let machine = Arc::new(Machine::start(name, address(number)).await?);
            network::connect(&machine).await?;
            let spec = Spec {
                program: "/usr/bin/etcd".into(),
                arguments: files::etcd_arguments(name, ip, &folder.join("data"), &all),
                environment: Vec::new(),
                log: folder.join("etcd.log"),
                owner,
            };
            members.push(Service::start(name, machine, spec));
        }
        let store = Store { members };
        let deadline = Instant::now() + ELECTION_MAX;
        while count > 0 && store.leader().await.is_none() {
            if Instant::now() > deadline {
                bail!("etcd has no leader after {ELECTION_MAX:?}; logs are in {}", dir.display());
            }
            sleep(Duration::from_millis(200)).await;
        }
        Ok(store)
    }

    /// Client addresses, host:port.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("{}:{ETCD_PORT}", member.machine.address)).collect()
    }

    /// The member that leads, as the members say.
    pub async fn leader(&self) -> Option<&Arc<Service>> {
        for member in &self.members {
            if self.leads(member).await.unwrap_or(false) {
                return Some(member);
            }
        }
        None
    }

    pub async fn stop(&self) {
        for member in &self.members {
            member.stop().await;
        }
    }

    async fn leads(&self, member: &Service) -> Result<bool> {
        let endpoint = format!("http://{}:{ETCD_PORT}", member.machine.address);
        let output = tokio::process::Command::new("/usr/bin/etcdctl")
            .args(["--endpoints", &endpoint, "--command-timeout=1s", "--dial-timeout=1s"])
            .args(["endpoint", "status", "--write-out=json"])
            .env("ETCDCTL_API", "3")
            .kill_on_drop(true)
            .output()
            .await?;
        let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let status = &status[0]["Status"];
        let leader = status["leader"].as_u64().filter(|leader| *leader != 0).context("no leader")?;
        Ok(status["header"]["member_id"].as_u64() == Some(leader))
    }
}

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 100, number)
}
