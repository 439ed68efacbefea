//! `atoll node`: nodes come, go, and get their data anew.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use atoll_demo::progress::Progress;
use atoll_proto::auth::Token;
use atoll_proto::v1::group_request::Action;
use atoll_proto::v1::{NodeState, RebuildRequest, RemoveRequest};
use clap::Subcommand;
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};
use tonic::Code;

use crate::group::ask;
use crate::host::{self, Owner};
use crate::layout::{self, Cluster, Node};
use crate::options::Settings;
use crate::output;
use crate::process::POLL;
use crate::reach::{Reached, Target};
use crate::supervise::{self, AGENT_GRACE, Journal};
use crate::{rpc, survival, up};

/// A node of which nothing has moved for this long is not waited for any more.
const STALLED: Duration = Duration::from_secs(300);
/// An agent that dies this often will not come.
const EXITS_MAX: u32 = 3;

#[derive(Subcommand)]
pub enum Command {
    /// Add a replica to a group
    Add {
        #[arg(long)]
        group: String,
        /// Where it stands [default: the next one of the cluster's zones]
        #[arg(long)]
        zone: Option<String>,
        /// How much it can do, relative to other nodes [default: this machine's processors]
        #[arg(long, value_parser = capacity)]
        capacity: Option<f64>,
    },
    /// Take a replica out of its group; its process is stopped and its data removed
    Remove { node: String },
    /// Throw a replica's data away and copy the primary's
    Rebuild { node: String },
}

fn capacity(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(capacity) if capacity.is_finite() && capacity > 0.0 => Ok(capacity),
        _ => Err("a number above 0".to_owned()),
    }
}

/// # Errors
/// When the cluster cannot be reached, or refuses.
pub async fn run(settings: &Settings, command: Command) -> anyhow::Result<()> {
    let target = Target::of(settings)?;
    match command {
        Command::Add { group, zone, capacity } => match &target {
            Target::Folder(_) => add(settings, &target, &group, zone.as_deref(), capacity).await,
            Target::Coordinator(_) => {
                Reached::first(&target, &target.token(settings)?).await?.group(&group)?;
                output::show(by_hand(&group, zone.as_deref(), capacity));
                Ok(())
            }
        },
        Command::Remove { node } => remove(settings, &target, &node).await,
        Command::Rebuild { node } => rebuild(settings, &target, &node).await,
    }
}

fn report(settings: &Settings, node: &str, state: &str, message: &str) {
    if settings.json {
        output::show(serde_json::json!({ "node": node, "state": state, "message": message }));
    } else {
        output::show(message);
    }
}

/// How a node is added on a host that this program does not administer.
fn by_hand(group: &str, zone: Option<&str>, capacity: Option<f64>) -> String {
    let zone = zone.unwrap_or("local");
    let capacity = capacity.unwrap_or(1.0);
    format!(
        "A node joins by itself when its agent starts. On its host:\n\
         1. install atoll-agent and PostgreSQL, and copy the cluster's token to /etc/atoll/token;\n\
         2. write /etc/atoll/NAME.toml as in deploy/agent.toml, with\n\
         \x20      name = \"NAME\"\n\
         \x20      group = \"{group}\"\n\
         \x20      zone = \"{zone}\"\n\
         \x20      capacity = {capacity:?}\n\
         \x20      bootstrap = false\n\
         \x20      advertise = \"HOST:PORT\"\n\
         \x20  and lease_store, lease_endpoints and lease_prefix as on the other nodes of {group};\n\
         3. systemctl enable --now atoll-agent@NAME\n\
         `atoll status` shows it as a replica once it has copied the primary's data and streams."
    )
}

async fn add(
    settings: &Settings,
    target: &Target,
    group: &str,
    zone: Option<&str>,
    capacity: Option<f64>,
) -> anyhow::Result<()> {
    let dir = settings.dir.as_path();
    let capacity = capacity.unwrap_or_else(|| f64::from(host::processors()));
    let node = {
        let owner = Owner::of_cluster()?;
        let _lock = up::lock(dir, &owner)?;
        let mut cluster = Cluster::load(dir)?;
        let node = cluster.add_node(group, zone, capacity, host::free_ports())?.clone();
        cluster.check_socket_paths(dir)?;
        up::write_agent(dir, &cluster, &node, &owner)?;
        owner.write_file(&layout::cluster_file(dir), &cluster.to_json(), 0o644)?;
        node
    };
    let Some(supervisor) = supervise::running(dir) else {
        let message = format!("{} is recorded; `atoll up` starts it", node.name);
        report(settings, &node.name, "recorded", &message);
        return Ok(());
    };
    if !settings.json {
        output::say(format_args!("starting {} ({group}, PostgreSQL on port {})", node.name, node.postgres_port));
    }
    supervisor.signal(Signal::SIGHUP);
    let token = target.token(settings)?;
    until_streaming(settings, &node, &token).await?;
    let agents: Vec<_> = Cluster::load(dir)?.nodes_of(group).map(|node| layout::loopback(node.agent_port)).collect();
    if !survival::wait(&agents, &[&node.name], &token).await {
        output::say(format_args!(
            "warning: {group} does not count on {} yet; see `atoll group history {group}`",
            node.name
        ));
    }
    let mut reached = Reached::first(target, &token).await?;
    reached.admin.add_node(up::registration(dir, &node)).await.map_err(rpc::plain)?;
    report(settings, &node.name, "running", &format!("{} is a replica of {group}", node.name));
    Ok(())
}

/// Waits for a new node of the folder, showing how far it has come.
async fn until_streaming(settings: &Settings, node: &Node, token: &Token) -> anyhow::Result<()> {
    let dir = settings.dir.as_path();
    let hint = || format!("`atoll node remove {}` takes it out again", node.name);
    let mut watched = Watched::new(&node.name, settings.json);
    loop {
        if let Some(entry) = Journal::load(dir).entry(&node.name)
            && entry.exits >= EXITS_MAX
        {
            let lines = host::tail(&entry.log(dir), 0, 15).join("\n    ");
            bail!("agent {} ended: {}; {}\n    {lines}", node.name, entry.last_exit, hint());
        }
        let state = rpc::node_state(&layout::loopback(node.agent_port), token).await;
        match &state {
            Ok(state) if state.role == "replica" => {
                watched.end();
                return Ok(());
            }
            _ => watched.see(state.ok()),
        }
        if watched.is_stalled() {
            bail!("{} has not moved for {} s: {}; {}", node.name, STALLED.as_secs(), watched.last, hint());
        }
        sleep(POLL * 4).await;
    }
}

/// A node on its way to become a replica.
struct Watched {
    name: String,
    quiet: bool,
    copy: Option<Copy>,
    last: String,
    moved: Instant,
}

struct Copy {
    progress: Progress,
    done: u64,
}

impl Watched {
    fn new(name: &str, quiet: bool) -> Self {
        Self { name: name.to_owned(), quiet, copy: None, last: String::new(), moved: Instant::now() }
    }

    fn see(&mut self, state: Option<NodeState>) {
        let Some(state) = state else { return };
        let now = format!("{} {} {} {}", state.state, state.reason, state.copied_bytes, state.lsn);
        if now != self.last {
            self.moved = Instant::now();
            self.last = now;
        }
        if self.quiet {
            return;
        }
        if state.copy_bytes > 0 {
            let copy = self
                .copy
                .get_or_insert_with(|| Copy { progress: Progress::new(self.name.clone(), state.copy_bytes), done: 0 });
            copy.progress.advance(state.copied_bytes.saturating_sub(copy.done));
            copy.done = copy.done.max(state.copied_bytes);
        } else if self.copy.is_some() {
            self.end();
            output::say(format_args!("{} is copied and catches up", self.name));
        }
    }

    fn end(&mut self) {
        if let Some(copy) = self.copy.take() {
            copy.progress.finish();
        }
    }

    fn is_stalled(&self) -> bool {
        self.moved.elapsed() >= STALLED
    }
}

/// What the coordinator knows of a node, and its group's name.
fn find<'a>(reached: &'a Reached, node: &str) -> Option<(&'a str, &'a NodeState, &'a str)> {
    let group = reached.group_of(node)?;
    let known = group.nodes.iter().find(|known| known.state.as_ref().is_some_and(|state| state.name == node))?;
    Some((&group.name, known.state.as_ref()?, &known.agent_address))
}

async fn remove(settings: &Settings, target: &Target, name: &str) -> anyhow::Result<()> {
    let mut reached = Reached::first(target, &target.token(settings)?).await?;
    let recorded = match target {
        Target::Folder(cluster) => cluster.node(name),
        Target::Coordinator(_) => None,
    };
    let group = match (find(&reached, name), recorded) {
        (Some((group, state, _)), _) if state.role == "primary" => {
            bail!("{name} is the primary of {group}; let another node lead first: `atoll group switchover {group}`")
        }
        (Some((group, _, _)), _) => group.to_owned(),
        (None, Some(node)) => node.group.clone(),
        (None, None) => bail!("there is no node {name}"),
    };
    let action = Action::Remove(RemoveRequest { group: group.clone(), name: name.to_owned() });
    match ask(&mut reached, &group, "", action).await {
        Ok(_) => {}
        // It had not joined yet.
        Err(status) if status.code() == Code::NotFound && recorded.is_some() => {}
        Err(status) => return Err(rpc::plain(status)),
    }
    let mut message = format!("{name} no longer belongs to {group}");
    if recorded.is_some() {
        forget(&settings.dir, name).await?;
    } else {
        message += "; on its host, its agent may be stopped and its data removed";
    }
    report(settings, name, "removed", &message);
    Ok(())
}

/// Takes a node out of a local cluster: its process, its record, its folder.
async fn forget(dir: &Path, name: &str) -> anyhow::Result<()> {
    let owner = Owner::of_cluster()?;
    let _lock = up::lock(dir, &owner)?;
    let mut cluster = Cluster::load(dir)?;
    cluster.nodes.retain(|node| node.name != name);
    owner.write_file(&layout::cluster_file(dir), &cluster.to_json(), 0o644)?;
    if let Some(supervisor) = supervise::running(dir) {
        supervisor.signal(Signal::SIGHUP);
        let deadline = Instant::now() + AGENT_GRACE + Duration::from_secs(30);
        while Journal::load(dir).entry(name).is_some() {
            if Instant::now() >= deadline {
                bail!("{name} no longer belongs to its group, but the supervisor has not stopped its agent");
            }
            sleep(POLL).await;
        }
    }
    let folder = dir.join(name);
    std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))
}

async fn rebuild(settings: &Settings, target: &Target, name: &str) -> anyhow::Result<()> {
    let token = target.token(settings)?;
    let mut reached = Reached::first(target, &token).await?;
    let Some((group, state, address)) = find(&reached, name) else { bail!("there is no node {name}") };
    if state.role == "primary" {
        bail!("{name} is the primary of {group}: its data is what the others copy");
    }
    let (group, address) = (group.to_owned(), address.to_owned());
    let action = Action::Rebuild(RebuildRequest { group: group.clone() });
    let mut watched = Watched::new(name, settings.json);
    let outcome = {
        let mut work = std::pin::pin!(ask(&mut reached, &group, name, action));
        loop {
            tokio::select! {
                outcome = &mut work => break outcome,
                () = sleep(POLL * 4) => watched.see(rpc::node_state(&address, &token).await.ok()),
            }
        }
    };
    watched.end();
    let message = outcome.map_err(rpc::plain)?;
    report(settings, name, "running", &message);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capacity_is_above_zero() {
        assert_eq!(capacity("2.5"), Ok(2.5));
        for wrong in ["0", "-1", "nan", "inf", "many"] {
            assert!(capacity(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_written_by_hand_names_the_group() {
        let text = by_hand("g2", Some("b"), None);
        assert!(
            text.contains("group = \"g2\"") && text.contains("zone = \"b\"") && text.contains("capacity = 1.0"),
            "{text}"
        );
    }
}
