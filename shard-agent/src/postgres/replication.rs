//! The words of replication: whom a node follows, who must confirm, and how far a node is.

use std::fmt;

use sha2::{Digest, Sha256};

use super::credentials::passfile;
use super::lsn::Lsn;
use crate::settings::Settings;

/// As whom nodes copy and follow each other.
pub const REPLICATION_ROLE: &str = "atoll_replication";
/// What the names of members' slots begin with.
pub(super) const SLOT_PREFIX: &str = "atoll_";
/// PostgreSQL's names are shorter than its NAMEDATALEN.
const NAME_LEN_MAX: usize = 63;

/// Whom a replica follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The node's name.
    pub name: String,
    pub host: String,
    pub port: u16,
}

impl Upstream {
    /// How libpq reaches it, in the name of `application`. The password comes from a file.
    pub(super) fn conninfo(&self, settings: &Settings, application: &str) -> String {
        let port = self.port.to_string();
        let passfile = passfile(settings).display().to_string();
        let nothing = settings.run_dir.join("none").display().to_string();
        let words = [
            ("host", self.host.as_str()),
            ("port", &port),
            ("dbname", "postgres"),
            ("user", REPLICATION_ROLE),
            ("passfile", &passfile),
            ("application_name", application),
            ("gssencmode", "disable"),
            // The certificate is the node's own; that the other end knows the password's verifier is what proves who it is.
            ("sslmode", "require"),
            ("channel_binding", "require"),
            // Not what some home directory holds: that may not even be readable.
            ("sslcert", &nothing),
            ("sslrootcert", &nothing),
            // A host that is gone is noticed within seconds.
            ("connect_timeout", "5"),
            ("keepalives_idle", "2"),
            ("keepalives_interval", "1"),
            ("keepalives_count", "3"),
            ("tcp_user_timeout", "5000"),
        ];
        let quoted = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
        let words: Vec<String> = words.iter().map(|(name, value)| format!("{name}='{}'", quoted(value))).collect();
        words.join(" ")
    }
}

/// The slot that a primary keeps for `node`: its letters and digits, anything else in hexadecimal.
pub fn slot_name(node: &str) -> String {
    let mut name = String::from(SLOT_PREFIX);
    for byte in node.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' => name.push(byte.into()),
            _ => name.push_str(&format!("_{byte:02x}")),
        }
    }
    if name.len() > NAME_LEN_MAX {
        let digest = Sha256::digest(node).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        name.truncate(SLOT_PREFIX.len() + 16);
        name.push_str(&format!("_{}", &digest[..32]));
    }
    name
}

/// Whose confirmation a commit waits for: any `quorum` of `members`. A quorum of 0 is asynchronous.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncNames {
    /// Names of standbys.
    pub members: Vec<String>,
    pub quorum: usize,
}

impl fmt::Display for SyncNames {
    /// As `synchronous_standby_names` spells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.quorum == 0 || self.members.is_empty() {
            return Ok(());
        }
        let members: Vec<String> =
            self.members.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
        write!(f, "ANY {} ({})", self.quorum, members.join(", "))
    }
}

/// How PostgreSQL is to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartAs {
    /// With the synchronous set in force from its first transaction on.
    Primary { sync: SyncNames },
    /// Without an upstream it replays what it has and waits.
    Replica { upstream: Option<Upstream> },
}

/// How PostgreSQL is to be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Sessions end, a checkpoint is written, standbys get the rest of the log; after `at_most` as [`Stop::Immediate`].
    Fast { at_most: std::time::Duration },
    /// At once, without a checkpoint: within a second, whatever state it is in.
    Immediate,
}

/// How far a node's log goes: every record up to `lsn` is on its disk and replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub timeline: u32,
    pub lsn: Lsn,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_different_nodes_differ() {
        assert_eq!(slot_name("g1-n2"), "atoll_g1_2dn2");
        assert_eq!(slot_name("g1_n2"), "atoll_g1_5fn2");
        assert_eq!(slot_name("G1.N2"), "atoll__471_2e_4e2");
        let long = |end: &str| slot_name(&format!("{}{end}", "node".repeat(30)));
        assert!(long("1").len() <= NAME_LEN_MAX);
        assert_ne!(long("1"), long("2"));
    }

    #[test]
    fn a_synchronous_set_is_spelt_as_postgresql_reads_it() {
        let names = |members: &[&str], quorum| {
            SyncNames { members: members.iter().map(|name| (*name).to_owned()).collect(), quorum }.to_string()
        };
        assert_eq!(names(&["g1-n2", "a\"b"], 1), "ANY 1 (\"g1-n2\", \"a\"\"b\")");
        assert_eq!(names(&["g1-n2"], 0), "");
        assert_eq!(names(&[], 1), "");
    }

    #[test]
    fn a_connection_string_holds_no_password_and_quotes() {
        let settings = Settings { run_dir: "/run/it's".into(), ..Settings::default() };
        let upstream = Upstream { name: "b".into(), host: "10.0.0.2".into(), port: 5440 };
        let conninfo = upstream.conninfo(&settings, "a\\b");
        assert!(conninfo.starts_with("host='10.0.0.2' port='5440' dbname='postgres' user='atoll_replication'"));
        assert!(conninfo.contains("passfile='/run/it\\'s/replication.pass'"), "{conninfo}");
        assert!(conninfo.contains("application_name='a\\\\b'"), "{conninfo}");
        assert!(!conninfo.contains("password="), "{conninfo}");
    }
}
