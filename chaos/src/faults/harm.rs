//! What was done to the cluster, and how it is undone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::lab::Lab;
use crate::lab::machine::Machine;
use crate::lab::network;
use crate::lab::processes;
use crate::lab::service::Service;

/// One thing to undo.
enum Undo {
    Continue(Vec<u32>),
    Release(Arc<Service>),
    Heal(Arc<Machine>),
    Boot(Arc<Machine>, PathBuf),
    Remove(PathBuf),
    /// The node's name.
    Clock(String),
}

/// A fault that was injected.
pub struct Harm {
    /// What was done, in words.
    pub what: String,
    /// The group whose writes it may hold up; `None`: any.
    pub group: Option<String>,
    /// How long it lasts.
    pub lasts: Duration,
    undo: Vec<Undo>,
}

impl Harm {
    pub fn new(what: String, group: Option<&str>, lasts: Duration) -> Harm {
        Harm { what, group: group.map(str::to_owned), lasts, undo: Vec::new() }
    }

    /// Sends a signal to a process that its keeper starts again.
    pub fn kill(&mut self, pid: Option<u32>) {
        processes::signal(pid, Signal::SIGKILL);
    }

    /// Stops processes until the fault is undone.
    pub fn freeze(&mut self, pids: Vec<u32>) {
        pids.iter().for_each(|pid| processes::signal(Some(*pid), Signal::SIGSTOP));
        self.undo.push(Undo::Continue(pids));
    }

    /// Kills a service, which stays dead until the fault is undone.
    pub fn kill_and_hold(&mut self, service: &Arc<Service>) {
        service.hold(true);
        processes::signal(service.pid(), Signal::SIGKILL);
        self.undo.push(Undo::Release(service.clone()));
    }

    /// # Errors
    /// When the packet filter refuses.
    pub async fn cut(&mut self, machine: &Arc<Machine>, cut: &network::Cut) -> Result<()> {
        self.undo.push(Undo::Heal(machine.clone()));
        network::cut(machine, cut).await
    }

    /// # Errors
    /// When the packet filter refuses.
    pub async fn worsen(&mut self, machine: &Arc<Machine>, loss_percent: u32, kilobits: u32) -> Result<()> {
        self.undo.push(Undo::Heal(machine.clone()));
        network::worsen(machine, loss_percent, kilobits).await
    }

    /// Pulls the plug: nothing leaves the machine any more, not even the ends of its connections. What it had in `run_dir` is gone when
    /// it boots.
    ///
    /// # Errors
    /// When the machine cannot be reached.
    pub async fn power_off(&mut self, machine: &Arc<Machine>, run_dir: PathBuf) -> Result<()> {
        self.undo.push(Undo::Boot(machine.clone(), run_dir));
        network::plug(machine, false).await?;
        machine.power_off().await
    }

    /// Fills the file system of a file until none of it is left.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn fill(&mut self, file: PathBuf) -> Result<()> {
        self.undo.push(Undo::Remove(file.clone()));
        let mut balloon = std::fs::File::create(&file).with_context(|| format!("making {}", file.display()))?;
        let block = vec![0_u8; 1 << 16];
        // Ends with "no space left on device".
        while std::io::Write::write_all(&mut balloon, &block).is_ok() {}
        Ok(())
    }

    pub fn clock_is_off(&mut self, node: &str) {
        self.undo.push(Undo::Clock(node.to_owned()));
    }

    /// Undoes everything, the last thing first.
    ///
    /// # Errors
    /// When something cannot be undone.
    pub async fn undo(&mut self, lab: &Lab) -> Result<()> {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Continue(pids) => {
                    pids.iter().for_each(|pid| processes::signal(Some(*pid), Signal::SIGCONT));
                }
                Undo::Release(service) => service.hold(false),
                Undo::Heal(machine) => network::heal(&machine).await?,
                Undo::Boot(machine, run_dir) => {
                    machine.boot().await?;
                    // /run is empty after a boot.
                    machine.run("find", &[&*run_dir.to_string_lossy(), "-mindepth", "1", "-delete"]).await?;
                    network::plug(&machine, true).await?;
                }
                Undo::Remove(file) => {
                    std::fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
                }
                Undo::Clock(name) => {
                    let node = lab.nodes.iter().find(|node| node.name == name).context("a node that is gone")?;
                    node.set_clock(0)?;
                }
            }
        }
        Ok(())
    }
}
