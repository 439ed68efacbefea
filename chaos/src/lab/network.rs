//! The lab's network: a bridge in the suite's own namespace, one cable to each machine, and cuts in the machines' packet filters.

use std::net::Ipv4Addr;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tokio::process::Command;

use super::machine::Machine;

const BRIDGE: &str = "lab0";
const PREFIX_BITS: u8 = 16;
/// Clients, and the suite itself.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// What a machine's packet filter does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing passes.
    Both,
    /// Nothing arrives; what the machine sends does.
    Incoming,
    /// Nothing leaves; what others send arrives.
    Outgoing,
    /// Nothing passes between the machine and these.
    From(Vec<Ipv4Addr>),
}

/// Moves the whole process into a network and a mount namespace of its own. Must be called before there are threads.
///
/// # Errors
/// When the caller is not root.
pub fn enter() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .context("making namespaces (the fault suite must be started as root)")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    Ok(())
}

/// Makes the bridge, with the suite's own address on it.
///
/// # Errors
/// When `ip` fails.
pub async fn make_bridge() -> Result<()> {
    ip(&["link", "set", "lo", "up"]).await?;
    ip(&["link", "add", BRIDGE, "type", "bridge"]).await?;
    ip(&["addr", "add", &format!("{CLIENT}/{PREFIX_BITS}"), "dev", BRIDGE]).await?;
    ip(&["link", "set", BRIDGE, "up"]).await
}

/// Connects a machine to the bridge.
///
/// # Errors
/// When `ip` fails.
pub async fn connect(machine: &Machine) -> Result<()> {
    let pid = machine.init_pid().with_context(|| format!("{} is off", machine.name))?.to_string();
    // Interfaces have short names: that of the address is unique.
    let [.., c, d] = machine.address.octets();
    let cable = format!("lab{c}-{d}");
    ip(&["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &pid]).await?;
    ip(&["link", "set", &cable, "master", BRIDGE, "up"]).await?;
    machine.run("ip", &["link", "set", "lo", "up"]).await?;
    machine.run("ip", &["addr", "add", &format!("{}/{PREFIX_BITS}", machine.address), "dev", "eth0"]).await?;
    machine.run("ip", &["link", "set", "eth0", "up"]).await?;
    Ok(())
}

/// Pulls or plugs the cable at the bridge: unlike a cut it also keeps the machine's last words from leaving.
///
/// # Errors
/// When `ip` fails.
pub async fn plug(machine: &Machine, plugged: bool) -> Result<()> {
    let [.., c, d] = machine.address.octets();
    ip(&["link", "set", &format!("lab{c}-{d}"), if plugged { "up" } else { "down" }]).await
}

/// Cuts a machine off until [`heal`].
///
/// # Errors
/// When `nft` fails.
pub async fn cut(machine: &Machine, cut: &Cut) -> Result<()> {
    filter(machine, &rules(cut)).await
}

/// Lets a machine lose that many of a hundred packets in each direction, and send at most `kilobits` per second, until [`heal`]:
/// what is beyond waits in its queue, as on a crowded link.
///
/// # Errors
/// When `nft` or `tc` fails.
pub async fn worsen(machine: &Machine, loss_percent: u32, kilobits: u32) -> Result<()> {
    let drop = format!("numgen random mod 100 < {loss_percent} drop");
    filter(machine, &[("input", drop.clone()), ("output", drop)]).await?;
    let rate = format!("{kilobits}kbit");
    let shape = ["qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", &rate, "burst", "16kb", "latency", "400ms"];
    machine.run("tc", &shape).await?;
    Ok(())
}

/// Undoes [`cut`] and [`worsen`].
///
/// # Errors
/// When `nft` fails.
pub async fn heal(machine: &Machine) -> Result<()> {
    filter(machine, &[]).await?;
    // There may be no queue to remove.
    let _ = machine.run("tc", &["qdisc", "del", "dev", "eth0", "root"]).await;
    Ok(())
}

fn rules(cut: &Cut) -> Vec<(&'static str, String)> {
    let (input, output) = (("input", "drop".to_owned()), ("output", "drop".to_owned()));
    match cut {
        Cut::Both => vec![input, output],
        Cut::Incoming => vec![input],
        Cut::Outgoing => vec![output],
        Cut::From(others) => {
            let list = others.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(", ");
            vec![("input", format!("ip saddr {{ {list} }} drop")), ("output", format!("ip daddr {{ {list} }} drop"))]
        }
    }
}

/// Replaces the machine's packet filter. Loopback always passes.
async fn filter(machine: &Machine, rules: &[(&'static str, String)]) -> Result<()> {
    // One transaction; the first line makes the deletion possible also the first time.
    let mut script = "table inet lab {}\ndelete table inet lab\n".to_owned();
    for (hook, device) in [("input", "iifname"), ("output", "oifname")] {
        script.push_str(&format!(
            "add table inet lab\nadd chain inet lab {hook} {{ type filter hook {hook} priority 0; }}\n"
        ));
        script.push_str(&format!("add rule inet lab {hook} {device} lo accept\n"));
        for (_, rule) in rules.iter().filter(|(at, _)| *at == hook) {
            script.push_str(&format!("add rule inet lab {hook} {rule}\n"));
        }
    }
    machine.run("sh", &["-c", "printf %s \"$1\" | nft -f -", "sh", &script]).await?;
    Ok(())
}

async fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output().await.context("running ip")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_drops_in_the_directions_it_names() {
        let hooks = |cut: &Cut| rules(cut).into_iter().map(|(hook, _)| hook).collect::<Vec<_>>();
        assert_eq!(hooks(&Cut::Both), ["input", "output"]);
        assert_eq!(hooks(&Cut::Incoming), ["input"]);
        assert_eq!(hooks(&Cut::Outgoing), ["output"]);
        let store = rules(&Cut::From(vec![Ipv4Addr::new(10, 77, 100, 1), Ipv4Addr::new(10, 77, 100, 2)]));
        assert_eq!(store[0].1, "ip saddr { 10.77.100.1, 10.77.100.2 } drop");
        assert_eq!(store[1].1, "ip daddr { 10.77.100.1, 10.77.100.2 } drop");
    }
}
