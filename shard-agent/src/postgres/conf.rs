//! The configuration files that the agent writes into the data directory.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use super::data_dir::{file, replace};
use super::replication::{REPLICATION_ROLE, StartAs, SyncNames, Upstream};
use super::{PostgresError, certificate};
use crate::settings::Settings;

/// The agent's own settings file beside postgresql.conf, written anew at every start.
const CONF: &str = "atoll.conf";
const INCLUDE: &str = "include 'atoll.conf'";
/// What ALTER SYSTEM wrote; it comes after everything else.
const AUTO_CONF: &str = "postgresql.auto.conf";

pub(super) const SYNC: &str = "synchronous_standby_names";
pub(super) const CONNINFO: &str = "primary_conninfo";
const SLOT: &str = "primary_slot_name";
/// A replica's synchronous set until its promotion: should anybody else promote it, it acknowledges nothing.
const NOBODY: &str = "ANY 1 (\"atoll: nobody\")";

/// What of a node's configuration comes from its part in the group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// By setting, in the form that PostgreSQL shows.
    values: BTreeMap<String, String>,
    /// Settings that a replica must have at least as high as its primary.
    floors: BTreeMap<String, u32>,
}

impl Part {
    pub fn of(settings: &Settings, role: &StartAs) -> Self {
        let mut part = Self::default();
        match role {
            StartAs::Primary { sync } => part.require(sync),
            StartAs::Replica { upstream } => {
                part.values.insert(SYNC.into(), NOBODY.into());
                part.follow(settings, upstream.as_ref());
            }
        }
        part
    }

    /// As an earlier agent wrote it.
    pub fn read(data_dir: &Path) -> Self {
        let text = fs::read_to_string(data_dir.join(CONF)).unwrap_or_default();
        let line = |name: &str| {
            let value = text.lines().rev().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = '"))?;
            Some((name.to_owned(), value.strip_suffix('\'')?.replace("''", "'").replace("\\\\", "\\")))
        };
        Self { values: [SYNC, CONNINFO, SLOT].into_iter().filter_map(line).collect(), floors: BTreeMap::new() }
    }

    pub fn require(&mut self, sync: &SyncNames) {
        self.values.insert(SYNC.into(), sync.to_string());
    }

    pub fn follow(&mut self, settings: &Settings, upstream: Option<&Upstream>) {
        let conninfo = upstream.map(|upstream| upstream.conninfo(settings, &settings.name)).unwrap_or_default();
        let slot = upstream.map(|_| super::replication::slot_name(&settings.name)).unwrap_or_default();
        self.values.insert(CONNINFO.into(), conninfo);
        self.values.insert(SLOT.into(), slot);
    }

    /// `required` are the limits of the primary, as the control file names them.
    pub fn at_least(&mut self, required: BTreeMap<String, u32>) {
        self.floors = required;
    }

    /// What `setting` is to be.
    pub fn value(&self, setting: &str) -> &str {
        self.values.get(setting).map_or("", String::as_str)
    }
}

/// Writes the configuration of a start or a reload: of a member of a group with `part`, otherwise of a node that is alone.
///
/// # Errors
/// When a file cannot be read or written.
pub(super) fn write(settings: &Settings, part: Option<&Part>) -> Result<(), PostgresError> {
    let data_dir = &settings.data_dir;
    let main = data_dir.join("postgresql.conf");
    let mut text = fs::read_to_string(&main).map_err(|source| file("read", &main, source))?;
    if !text.lines().any(|line| line.trim() == INCLUDE) {
        text.push_str(&format!("\n# What the agent decides; written by it at every start.\n{INCLUDE}\n"));
        replace(&main, &text)?;
    }
    replace(&data_dir.join(CONF), &conf(settings, part))?;
    replace(&data_dir.join("pg_hba.conf"), &hba(settings, part.is_some()))?;
    match part {
        Some(_) => {
            certificate::ensure(settings)?;
            without_ours(&data_dir.join(AUTO_CONF))
        }
        None => Ok(()),
    }
}

fn conf(settings: &Settings, part: Option<&Part>) -> String {
    let connections = settings.connections_max();
    let mut lines = vec![
        ("listen_addresses", settings.postgres_host.clone()),
        ("port", settings.postgres_port.to_string()),
        ("unix_socket_directories", settings.run_dir.display().to_string()),
        ("unix_socket_permissions", "0700".into()),
        ("max_connections", connections.to_string()),
        // Every lane's transaction can be prepared at once.
        ("max_prepared_transactions", connections.to_string()),
        ("password_encryption", "scram-sha-256".into()),
        ("wal_level", "logical".into()),
        ("max_wal_senders", "10".into()),
        ("max_replication_slots", "10".into()),
        ("hot_standby", "on".into()),
        // For pg_rewind.
        ("wal_log_hints", "on".into()),
        ("fsync", "on".into()),
        ("logging_collector", "off".into()),
        ("log_destination", "stderr".into()),
        ("log_line_prefix", "%m [%p] %q%u@%d ".into()),
    ];
    if part.is_some() {
        lines.extend(MEMBER.map(|(name, value)| (name, value.to_owned())));
        let (certificate, key) = certificate::paths(settings);
        lines.push(("ssl", "on".into()));
        lines.push(("ssl_cert_file", certificate.display().to_string()));
        lines.push(("ssl_key_file", key.display().to_string()));
    }
    // The last one counts.
    lines.extend(settings.postgres_settings.iter().map(|(name, value)| (name.as_str(), value.clone())));
    if let Some(part) = part {
        lines.push(("hot_standby", "on".into()));
        lines.push(("recovery_target_timeline", "latest".into()));
        lines.extend(part.values.iter().map(|(name, value)| (name.as_str(), value.clone())));
        for (name, floor) in &part.floors {
            let own = lines.iter().rev().find(|(other, _)| other.eq_ignore_ascii_case(name));
            // Without a line it is PostgreSQL's default, which is the floor's unless somebody raised that.
            if own.is_none_or(|(_, own)| own.trim().parse::<u32>().map_or(true, |own| own < *floor)) {
                lines.push((name.as_str(), floor.to_string()));
            }
        }
    }
    let mut text = String::from("# Written by atoll-agent at every start; edit agent.toml instead.\n");
    for (name, value) in lines {
        text.push_str(&format!("{name} = '{}'\n", quoted(&value)));
    }
    text
}

/// What a member of a group has that a node which is alone has not.
const MEMBER: [(&str, &str); 12] = [
    // Two for each member while it is rebuilt, and the agent's own.
    ("max_wal_senders", "32"),
    ("max_replication_slots", "32"),
    ("synchronous_commit", "on"),
    ("hot_standby_feedback", "off"),
    ("wal_sender_timeout", "5s"),
    ("wal_receiver_timeout", "5s"),
    ("wal_receiver_status_interval", "1s"),
    ("wal_retrieve_retry_interval", "200ms"),
    // Before a crash recovery everything is made durable: in one call, not file by file, of which shards make many.
    ("recovery_init_sync_method", "syncfs"),
    // For members whose slot is younger than what they need, say after a promotion.
    ("wal_keep_size", "256MB"),
    // A member that stays away does not fill the disk.
    ("max_slot_wal_keep_size", "4GB"),
    // The agent reads in the log why a replica receives nothing.
    ("lc_messages", "C"),
];

/// The inside of a quoted value in postgresql.conf.
fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\'', "''")
}

fn hba(settings: &Settings, member: bool) -> String {
    let method = settings.postgres_auth.hba_method();
    let mut text = String::from(
        "# Written by atoll-agent at every start. Only the agent's OS user can enter the socket's folder.\n\
         local all all trust\n\
         local replication all trust\n",
    );
    if member {
        // Replicas and base backups; and pg_rewind. Encrypted and with a password wherever they come from.
        for database in ["replication", "postgres"] {
            text.push_str(&format!("hostssl {database} {REPLICATION_ROLE} all scram-sha-256\n"));
        }
    }
    for network in ["127.0.0.1/32", "::1/128"] {
        text.push_str(&format!("host all all {network} {method}\nhost replication all {network} {method}\n"));
    }
    // Elsewhere only with a password, whatever holds on loopback.
    if !settings.postgres_host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) {
        text.push_str("host all all all scram-sha-256\nhost replication all all scram-sha-256\n");
    }
    text
}

/// Takes out of ALTER SYSTEM's file what would override the agent.
fn without_ours(path: &Path) -> Result<(), PostgresError> {
    let Ok(text) = fs::read_to_string(path) else { return Ok(()) };
    let name_of = |line: &str| line.split([' ', '=']).next().unwrap_or_default().to_lowercase();
    let is_ours = |line: &&str| [SYNC, CONNINFO, SLOT].contains(&name_of(line).as_str());
    if !text.lines().any(|line| is_ours(&line)) {
        return Ok(());
    }
    let kept = text.lines().filter(|line| !is_ours(line)).map(|line| format!("{line}\n"));
    replace(path, &kept.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::PostgresAuth;

    #[test]
    fn settings_are_quoted_and_come_last() {
        let mut settings = Settings { run_dir: "/tmp/it's".into(), lanes_max: 30, ..Settings::default() };
        settings.postgres_settings.insert("wal_level".into(), "replica".into());
        let text = conf(&settings, None);
        assert!(text.contains("unix_socket_directories = '/tmp/it''s'\n"), "{text}");
        assert!(text.contains("max_connections = '50'\n"), "{text}");
        assert!(text.ends_with("wal_level = 'replica'\n"), "{text}");
    }

    #[test]
    fn nothing_but_the_private_socket_is_trusted_under_scram() {
        let settings =
            Settings { postgres_auth: PostgresAuth::Scram, postgres_host: "0.0.0.0".into(), ..Settings::default() };
        for line in hba(&settings, true).lines().filter(|line| line.starts_with("host")) {
            assert!(line.ends_with("scram-sha-256"), "{line}");
        }
        let settings = Settings { postgres_auth: PostgresAuth::Trust, ..settings };
        assert!(hba(&settings, false).contains("host all all 127.0.0.1/32 trust\n"));
        assert!(hba(&settings, false).contains("host all all all scram-sha-256\n"));
    }

    #[test]
    fn a_part_is_read_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { name: "o'hara\\1".into(), run_dir: "/run/it's".into(), ..Settings::default() };
        let upstream = Upstream { name: "b".into(), host: "::1".into(), port: 7 };
        let mut part = Part::of(&settings, &StartAs::Replica { upstream: Some(upstream) });
        part.require(&SyncNames { members: vec!["a\"b".into(), "it's".into()], quorum: 1 });
        fs::write(folder.path().join(CONF), conf(&settings, Some(&part))).unwrap();
        assert_eq!(Part::read(folder.path()), part);
    }

    #[test]
    fn a_replica_has_at_least_its_primarys_limits() {
        let mut settings = Settings { lanes_max: 30, ..Settings::default() };
        settings.postgres_settings.insert("max_worker_processes".into(), "4".into());
        let mut part = Part::default();
        let floors = [("max_connections", 120), ("max_worker_processes", 8), ("max_wal_senders", 10)];
        part.at_least(floors.map(|(name, floor)| (name.to_owned(), floor)).into());
        let text = conf(&settings, Some(&part));
        assert!(text.ends_with("max_connections = '120'\nmax_worker_processes = '8'\n"), "{text}");
    }

    #[test]
    fn what_alter_system_set_does_not_override_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(AUTO_CONF);
        fs::write(&path, "# header\nwork_mem = '8MB'\nsynchronous_standby_names = ''\nprimary_conninfo='x'\n").unwrap();
        without_ours(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "# header\nwork_mem = '8MB'\n");
    }
}
