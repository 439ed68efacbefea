//! How each kind of fault is done.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use atoll_proto::v1::group_request::Action;
use atoll_proto::v1::{GroupRequest, SwitchoverRequest};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep, timeout};

use super::{Harm, Kind, draw};
use crate::lab::network::Cut;
use crate::lab::node::Node;
use crate::lab::service::Service;
use crate::lab::{Lab, files, processes};

/// Time to live of leases (the agents' default).
pub const TTL: Duration = Duration::from_secs(6);
/// How long the suite waits for a group to begin to replace its primary before the second fault comes anyway.
const REPLACEMENT_MAX: Duration = Duration::from_secs(15);
/// How long a switchover may take.
const SWITCHOVER_MAX: Duration = Duration::from_secs(30);
/// Processes read how far their clock is off once a second.
const CLOCK_READ: Duration = Duration::from_millis(1500);
const MOMENT: Duration = Duration::from_millis(20);
/// SIGKILL and friends are over at once; the time is for what follows from them.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Harms the cluster.
///
/// # Errors
/// When there is nobody to harm (a group without a primary), or the system refuses.
pub async fn inject(kind: Kind, lab: &Lab, random: &mut StdRng) -> Result<Harm> {
    let groups = lab.groups();
    let group = draw(random, &groups).context("a cluster without groups")?.clone();
    let primary = lab.primary(&group).await.with_context(|| format!("{group} has no primary"))?;
    let replicas: Vec<&Node> = lab.group(&group).filter(|node| node.name != primary.name).collect();
    let seconds = |random: &mut StdRng, from: f64, to: f64| Duration::from_secs_f64(random.random_range(from..to));
    // Sometimes shorter than a lease lasts, mostly longer.
    let while_ = seconds(random, 3.0, 12.0);
    let on_group = |what: &str, lasts: Duration| Harm::new(format!("{what} {}", primary.name), Some(&group), lasts);
    match kind {
        Kind::KillPostmaster => {
            let mut harm = on_group("kill -9 the postmaster of primary", AT_ONCE);
            harm.kill(primary.postmaster());
            Ok(harm)
        }
        Kind::KillReplica | Kind::StopReplica | Kind::CutReplica | Kind::DiskFullReplica => {
            on_replica(kind, lab, *draw(random, &replicas).context("a group without replicas")?, while_).await
        }
        Kind::KillBackend => {
            let mut harm = on_group("kill -9 a client's backend of primary", AT_ONCE);
            let postmaster = primary.postmaster().context("its postmaster is gone")?;
            let backends = processes::client_backends(&primary.machine, postmaster);
            harm.kill(draw(random, &backends).copied());
            Ok(harm)
        }
        Kind::KillAgent => {
            let mut harm = on_group("kill -9 the agent of primary", AT_ONCE);
            harm.kill(primary.agent.pid());
            Ok(harm)
        }
        Kind::KillNode => {
            let mut harm = on_group("kill -9 postmaster and agent of primary", while_);
            kill_node(&mut harm, primary);
            Ok(harm)
        }
        Kind::PowerOff => {
            let mut harm = on_group("power off the machine of primary", while_);
            harm.power_off(&primary.machine, files::run_dir(&primary.home)).await?;
            Ok(harm)
        }
        Kind::KillBoth => {
            let coordinator = draw(random, &lab.coordinators).context("a cluster without coordinators")?;
            // Half of the time the primary is replaced, otherwise its agent starts it again.
            let dead = random.random_bool(0.5);
            let what = if dead { "postmaster and agent" } else { "the postmaster" };
            let what = format!("kill -9 {} and {what} of primary", coordinator.name);
            let mut harm = on_group(&what, if dead { while_ } else { AT_ONCE });
            harm.kill(coordinator.service.pid());
            if dead {
                kill_node(&mut harm, primary);
            } else {
                harm.kill(primary.postmaster());
            }
            Ok(harm)
        }
        Kind::KillCoordinator | Kind::StopCoordinator | Kind::CutCoordinator => {
            on_coordinator(kind, lab, random, while_).await
        }
        Kind::KillStoreMember | Kind::KillStoreLeader | Kind::StopStoreLeader => on_store(kind, lab, while_).await,
        Kind::StoreGoneShort | Kind::StoreGoneLong => {
            let lasts = if kind == Kind::StoreGoneShort { TTL / 2 } else { TTL + while_ };
            let mut harm = Harm::new("stop all of etcd".to_owned(), None, lasts);
            lab.store.members.iter().for_each(|member| harm.kill_and_hold(member));
            Ok(harm)
        }
        Kind::StopPostmaster => {
            let mut harm = on_group("SIGSTOP the postmaster of primary", while_);
            harm.freeze(primary.postmaster().into_iter().collect());
            Ok(harm)
        }
        Kind::StopAgent => {
            let mut harm = on_group("SIGSTOP the agent of primary", while_);
            harm.freeze(primary.agent.pid().into_iter().collect());
            Ok(harm)
        }
        Kind::StopMachine => {
            let mut harm = on_group("SIGSTOP everything on primary", TTL + while_);
            harm.freeze(processes::of(&primary.machine).into_iter().map(|process| process.pid).collect());
            Ok(harm)
        }
        Kind::Cut | Kind::CutIncoming | Kind::CutOutgoing | Kind::CutFromStore | Kind::CutFromGroup => {
            let (what, cut) = match kind {
                Kind::CutIncoming => ("cut everything that goes to primary", Cut::Incoming),
                Kind::CutOutgoing => ("cut everything that comes from primary", Cut::Outgoing),
                Kind::CutFromStore => {
                    let members = lab.store.members.iter().map(|member| member.machine.address);
                    ("cut from etcd: primary", Cut::From(members.collect()))
                }
                Kind::CutFromGroup => {
                    let others = replicas.iter().map(|node| node.machine.address);
                    ("cut from its replicas: primary", Cut::From(others.collect()))
                }
                _ => ("cut the network of primary", Cut::Both),
            };
            let mut harm = on_group(what, TTL / 2 + while_);
            harm.cut(&primary.machine, &cut).await?;
            Ok(harm)
        }
        Kind::DiskFull => {
            let mut harm = on_group("fill the disk of primary", while_);
            harm.fill(balloon(lab, primary)?)?;
            Ok(harm)
        }
        Kind::ClockStep => clock_step(lab, random, while_).await,
        Kind::BadLink => {
            let mut harm = on_group("lose 10 % of the packets and slow the link of primary", while_);
            harm.worsen(&primary.machine, 10, 4000).await?;
            Ok(harm)
        }
        Kind::LaggingReplicas => {
            let mut harm =
                on_group("stop replay on all replicas, then kill -9 postmaster and agent of primary", while_);
            let startups = replicas.iter().flat_map(|node| startup(node)).collect();
            harm.freeze(startups);
            sleep(AT_ONCE).await;
            kill_node(&mut harm, primary);
            Ok(harm)
        }
        Kind::SecondWinner | Kind::SecondCoordinator | Kind::SecondStore => {
            second(kind, lab, primary, &replicas, random, while_).await
        }
        Kind::Switchover => switchover(lab, &group).await,
    }
}

async fn on_replica(kind: Kind, lab: &Lab, node: &Node, lasts: Duration) -> Result<Harm> {
    let harm = |what: &str, lasts| Harm::new(format!("{what} {}", node.name), Some(&node.group), lasts);
    match kind {
        Kind::KillReplica => {
            let mut harm = harm("kill -9 the postmaster of replica", AT_ONCE);
            harm.kill(node.postmaster());
            Ok(harm)
        }
        Kind::StopReplica => {
            let mut harm = harm("SIGSTOP the PostgreSQL of replica", lasts);
            let postgres =
                processes::of(&node.machine).into_iter().filter(|process| process.title.contains("postgres"));
            harm.freeze(postgres.map(|process| process.pid).collect());
            Ok(harm)
        }
        Kind::DiskFullReplica => {
            let mut harm = harm("fill the disk of replica", lasts);
            harm.fill(balloon(lab, node)?)?;
            Ok(harm)
        }
        _ => {
            let mut harm = harm("cut the network of replica", lasts);
            harm.cut(&node.machine, &Cut::Both).await?;
            Ok(harm)
        }
    }
}

async fn on_coordinator(kind: Kind, lab: &Lab, random: &mut StdRng, lasts: Duration) -> Result<Harm> {
    let coordinator = draw(random, &lab.coordinators).context("a cluster without coordinators")?;
    let harm = |what: &str, lasts| Harm::new(format!("{what} {}", coordinator.name), None, lasts);
    match kind {
        Kind::KillCoordinator => {
            let mut harm = harm("kill -9", AT_ONCE);
            harm.kill(coordinator.service.pid());
            Ok(harm)
        }
        Kind::StopCoordinator => {
            let mut harm = harm("SIGSTOP", lasts);
            harm.freeze(coordinator.service.pid().into_iter().collect());
            Ok(harm)
        }
        _ => {
            let mut harm = harm("cut the network of", lasts);
            harm.cut(&coordinator.service.machine, &Cut::Both).await?;
            Ok(harm)
        }
    }
}

async fn on_store(kind: Kind, lab: &Lab, lasts: Duration) -> Result<Harm> {
    let leader = lab.store.leader().await.context("etcd has no leader")?;
    let other = lab.store.members.iter().find(|member| member.name != leader.name).context("etcd has one member")?;
    let harm = |what: &str, member: &Service, lasts| Harm::new(format!("{what} {}", member.name), None, lasts);
    match kind {
        Kind::KillStoreMember => {
            let mut harm = harm("kill -9 member", other, lasts);
            harm.kill_and_hold(other);
            Ok(harm)
        }
        Kind::KillStoreLeader => {
            let mut harm = harm("kill -9 leader", leader, lasts);
            harm.kill_and_hold(leader);
            Ok(harm)
        }
        _ => {
            let mut harm = harm("SIGSTOP leader", leader, lasts);
            harm.freeze(leader.pid().into_iter().collect());
            Ok(harm)
        }
    }
}

/// A file that shares its file system with a node's data.
fn balloon(lab: &Lab, node: &Node) -> Result<std::path::PathBuf> {
    // Never this host's own disk.
    ensure!(lab.topology.data_bytes.is_some(), "the data of {} has no file system of its own", node.name);
    node.machine.path(&node.home.join("disk/balloon")).with_context(|| format!("{} is off", node.name))
}

fn kill_node(harm: &mut Harm, node: &Node) {
    let postmaster = node.postmaster();
    harm.kill_and_hold(&node.agent);
    harm.kill(postmaster);
}

/// The process of a replica that replays.
fn startup(node: &Node) -> Option<u32> {
    let replays = |process: &processes::Process| process.title.starts_with("postgres: startup");
    processes::of(&node.machine).into_iter().find(replays).map(|process| process.pid)
}

async fn clock_step(lab: &Lab, random: &mut StdRng, lasts: Duration) -> Result<Harm> {
    let clocks: Vec<&Node> = lab.nodes.iter().filter(|node| node.has_clock()).collect();
    let node = *draw(random, &clocks).context("no node has a clock to set")?;
    let seconds = *draw(random, &[-86_400, -60, -7, 7, 60, 3600, 86_400]).context("no step")?;
    let mut harm = Harm::new(format!("step the clock by {seconds} s on {}", node.name), Some(&node.group), lasts);
    node.set_clock(seconds)?;
    harm.clock_is_off(&node.name);
    sleep(CLOCK_READ).await;
    let off = node.ask("SELECT extract(epoch FROM clock_timestamp())::int8").await?.parse::<i64>()?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    ensure!((off - now - seconds).abs() <= 3, "the clock of {} did not step: it is {} s off", node.name, off - now);
    Ok(harm)
}

/// A primary dies; when another node is about to take its place, the second fault comes.
async fn second(
    kind: Kind,
    lab: &Lab,
    primary: &Node,
    replicas: &[&Node],
    random: &mut StdRng,
    lasts: Duration,
) -> Result<Harm> {
    let epoch = primary.state().await.map_or(0, |state| state.epoch);
    let mut harm = Harm::new(String::new(), Some(&primary.group), lasts);
    kill_node(&mut harm, primary);
    let winner = candidate(replicas, epoch).await;
    let seen = if winner.is_some() { "during the promotion" } else { "before any promotion" };
    let second = match kind {
        Kind::SecondWinner => {
            let winner = winner.or_else(|| replicas.first().copied()).context("a group without replicas")?;
            kill_node(&mut harm, winner);
            format!("the successor {}", winner.name)
        }
        Kind::SecondCoordinator => {
            let coordinator = draw(random, &lab.coordinators).context("a cluster without coordinators")?;
            harm.kill_and_hold(&coordinator.service);
            coordinator.name.clone()
        }
        _ => {
            let leader: &Arc<Service> = lab.store.leader().await.context("etcd has no leader")?;
            harm.kill_and_hold(leader);
            format!("the leader {}", leader.name)
        }
    };
    harm.what = format!("kill -9 postmaster and agent of primary {}, and {second} {seen}", primary.name);
    Ok(harm)
}

/// Waits until a node has heard of an epoch after `epoch`, and returns the one whose it is.
async fn candidate<'a>(replicas: &[&'a Node], epoch: u64) -> Option<&'a Node> {
    let deadline = Instant::now() + REPLACEMENT_MAX;
    while Instant::now() < deadline {
        for node in replicas {
            let Some(state) = node.state().await else { continue };
            if state.group_epoch > epoch
                && let Some(winner) = replicas.iter().find(|node| node.name == state.leader)
            {
                return Some(winner);
            }
        }
        sleep(MOMENT).await;
    }
    None
}

async fn switchover(lab: &Lab, group: &str) -> Result<Harm> {
    switch_over(lab, group).await?;
    Ok(Harm::new(format!("switchover of {group}"), Some(group), Duration::ZERO))
}

/// Asks a coordinator for a planned switchover of a group to its best standby, and waits for it.
///
/// # Errors
/// When it is refused or takes longer than half a minute.
pub async fn switch_over(lab: &Lab, group: &str) -> Result<()> {
    let coordinator = lab.coordinators.first().context("a cluster without coordinators")?;
    let mut admin = lab.admin(coordinator)?;
    let switchover = SwitchoverRequest { group: group.to_owned(), to: String::new() };
    let request =
        GroupRequest { group: group.to_owned(), action: Some(Action::Switchover(switchover)), node: String::new() };
    let done = timeout(SWITCHOVER_MAX, admin.group(request)).await;
    done.with_context(|| format!("the switchover of {group} took longer than {SWITCHOVER_MAX:?}"))?
        .with_context(|| format!("the switchover of {group}"))?;
    Ok(())
}
