//! A cluster's own processes and their memory.

use std::fs;

use anyhow::{Context, Result};
use atoll_tests::cluster::Cluster;
use serde_json::Value;

/// Coordinators, then agents, as they were at the beginning: name and pid.
#[derive(Debug, PartialEq)]
pub struct Processes(Vec<(String, u32)>);

impl Processes {
    /// Takes them down.
    ///
    /// # Errors
    /// When the cluster's status cannot be read.
    pub fn of(cluster: &Cluster) -> Result<Processes> {
        let status = cluster.status()?;
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let process = |name: &Value, pid: &Value, what: &str| -> Result<(String, u32)> {
            let name = name.as_str().context("a process without a name")?;
            let pid = pid.as_u64().with_context(|| format!("{what} {name} has no pid"))?;
            Ok((format!("{what} {name}"), u32::try_from(pid)?))
        };
        let mut processes = Vec::new();
        for coordinator in list(&status["coordinators"]) {
            processes.push(process(&coordinator["name"], &coordinator["pid"], "coordinator")?);
        }
        for group in list(&status["groups"]) {
            for node in list(&group["nodes"]) {
                processes.push(process(&node["name"], &node["agent"]["pid"], "agent")?);
            }
        }
        Ok(Processes(processes))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Resident memory of each, in bytes, in the order of [`Processes::names`].
    ///
    /// # Errors
    /// When one of them is gone.
    pub fn resident_bytes(&self) -> Result<Vec<u64>> {
        self.memory("VmRSS:")
    }

    /// The most that each had resident since [`Processes::forget_peaks`].
    ///
    /// # Errors
    /// When one of them is gone.
    pub fn peak_bytes(&self) -> Result<Vec<u64>> {
        self.memory("VmHWM:")
    }

    /// Lets peaks begin anew, with what is resident now.
    ///
    /// # Errors
    /// When one of them is gone.
    pub fn forget_peaks(&self) -> Result<()> {
        self.0
            .iter()
            .try_for_each(|(name, pid)| fs::write(format!("/proc/{pid}/clear_refs"), "5").context(name.clone()))
    }

    /// Processes that are not the ones of the beginning any more.
    ///
    /// # Errors
    /// When the cluster's status cannot be read.
    pub fn restarted(&self, cluster: &Cluster) -> Result<Vec<String>> {
        let now = Processes::of(cluster)?;
        let gone = self.0.iter().filter(|process| !now.0.contains(process));
        Ok(gone.map(|(name, pid)| format!("{name} (process {pid}) ended meanwhile")).collect())
    }

    fn memory(&self, what: &str) -> Result<Vec<u64>> {
        self.0
            .iter()
            .map(|(name, pid)| {
                let status =
                    fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("{name} is gone"))?;
                let line = status
                    .lines()
                    .find_map(|line| line.strip_prefix(what))
                    .with_context(|| format!("{name} has no memory"))?;
                let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
                Ok(kilobytes * 1024)
            })
            .collect()
    }
}
