//! What PostgreSQL's control file says of stopped data.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::PostgresError;
use super::lsn::Lsn;
use super::tool::{Tool, failed};
use crate::settings::Settings;

/// How long it may take to be read.
const READ_MAX: Duration = Duration::from_secs(10);

/// Settings that a replica must have at least as high as its primary, by pg_controldata's words for them.
const LIMITS: [(&str, &str); 5] = [
    ("max_connections setting", "max_connections"),
    ("max_worker_processes setting", "max_worker_processes"),
    ("max_wal_senders setting", "max_wal_senders"),
    ("max_prepared_xacts setting", "max_prepared_transactions"),
    ("max_locks_per_xact setting", "max_locks_per_transaction"),
];

/// The part of the control file that matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ControlFile {
    pub system_identifier: u64,
    /// "shut down", "in production", "in archive recovery", ...
    pub state: String,
    pub checkpoint: Lsn,
    /// The newest that is named.
    pub timeline: u32,
    /// By setting.
    pub limits: BTreeMap<String, u32>,
}

impl ControlFile {
    pub async fn read(settings: &Settings, data_dir: &Path) -> Result<Self, PostgresError> {
        let mut tool = Tool::new(settings, "pg_controldata");
        tool.arg("-D").arg(data_dir);
        let output = tool.output(READ_MAX).await?;
        let parsed = if output.succeeded() { Self::parse(&output.stdout) } else { None };
        parsed.ok_or_else(|| failed("pg_controldata", &output))
    }

    fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let lines: BTreeMap<&str, &str> = lines.map(|(name, value)| (name.trim(), value.trim())).collect();
        let number = |name: &str| lines.get(name)?.parse::<u32>().ok();
        let limits = LIMITS.iter().filter_map(|(name, setting)| Some(((*setting).to_owned(), number(name)?)));
        Some(Self {
            system_identifier: lines.get("Database system identifier")?.parse().ok()?,
            state: (*lines.get("Database cluster state")?).to_owned(),
            checkpoint: lines.get("Latest checkpoint location")?.parse().ok()?,
            timeline: number("Latest checkpoint's TimeLineID")?.max(number("Min recovery ending loc's timeline")?),
            limits: limits.collect(),
        })
    }

    /// Whether it was replaying another's log when it last ran.
    pub fn is_standby(&self) -> bool {
        matches!(self.state.as_str(), "in archive recovery" | "shut down in recovery")
    }

    pub fn is_shut_down(&self) -> bool {
        matches!(self.state.as_str(), "shut down" | "shut down in recovery")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let text = "\
pg_control version number:            1300
Database system identifier:           7400000000000000001
Database cluster state:               in archive recovery
Latest checkpoint location:           0/3000060
Latest checkpoint's TimeLineID:       2
Minimum recovery ending location:     0/3000110
Min recovery ending loc's timeline:   3
max_connections setting:              100
max_worker_processes setting:         8
max_wal_senders setting:              10
max_prepared_xacts setting:           0
max_locks_per_xact setting:           64
";
        let control = ControlFile::parse(text).unwrap();
        assert_eq!(control.system_identifier, 7_400_000_000_000_000_001);
        assert_eq!((control.checkpoint, control.timeline), (Lsn(0x300_0060), 3));
        assert!(control.is_standby() && !control.is_shut_down());
        assert_eq!(control.limits["max_prepared_transactions"], 0);
        assert_eq!(control.limits.len(), 5);
        assert_eq!(ControlFile::parse(""), None);
    }
}
