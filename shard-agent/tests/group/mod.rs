//! Nodes of one group: PostgreSQL as a governor would handle it, without one.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

use atoll_agent::lanes::backend::{Backend, LoginError};
use atoll_agent::postgres::{Observation, Primary, Replica, Server, StartAs, SyncNames, Upstream};
use atoll_agent::settings::Settings;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

pub const DEADLINE: Duration = Duration::from_secs(60);
const SECRET: &str = "the-cluster-token";
const POLL: Duration = Duration::from_millis(20);

/// PostgreSQL does not run as root.
fn become_postgres() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        atoll_settings::drop_privileges("postgres").unwrap();
        atoll_settings::init_logs();
    });
}

/// One node; its PostgreSQL is killed when it goes.
pub struct Node {
    pub server: Server,
    pub settings: Settings,
    dir: TempDir,
}

impl Node {
    pub fn new(name: &str) -> Self {
        Self::with(name, &[("fsync", "off")])
    }

    pub fn with(name: &str, postgres_settings: &[(&str, &str)]) -> Self {
        become_postgres();
        let dir = TempDir::with_prefix("atoll-node-").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut settings = Settings {
            name: name.into(),
            group: "g1".into(),
            run_dir: dir.path().join("run"),
            data_dir: dir.path().join("data"),
            postgres_log: dir.path().join("postgres.log"),
            postgres_port: port,
            lanes_max: 30,
            ..Settings::default()
        };
        settings.postgres_settings.insert("shared_buffers".into(), "16MB".into());
        let given = postgres_settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        settings.postgres_settings.extend(given);
        fs::create_dir(&settings.run_dir).unwrap();
        Self { server: Server::new(settings.clone(), SECRET).0, settings, dir }
    }

    /// A primary with fresh data.
    pub async fn primary(name: &str) -> Self {
        Self::new(name).into_primary().await
    }

    pub async fn into_primary(mut self) -> Self {
        self.server.initdb().await.unwrap();
        self.start_primary().await;
        self
    }

    /// A replica with a copy of `primary`'s data.
    pub async fn replica(name: &str, primary: &mut Self) -> Self {
        Self::new(name).into_replica(primary).await
    }

    pub async fn into_replica(mut self, primary: &mut Self) -> Self {
        primary.server.keep_slots(&[self.settings.name.clone()]).await.unwrap();
        self.server.rebuild(&primary.upstream(), |_, _| ()).await.unwrap();
        self.start_replica(Some(primary)).await;
        self.streams().await;
        self
    }

    pub async fn start_primary(&mut self) -> Primary {
        self.server.start(&StartAs::Primary { sync: SyncNames::default() }).await.unwrap();
        self.is_primary().await
    }

    pub async fn start_replica(&mut self, of: Option<&Self>) -> Replica {
        self.server.start(&StartAs::Replica { upstream: of.map(Self::upstream) }).await.unwrap();
        self.is_replica("it runs", |_| true).await
    }

    pub fn upstream(&self) -> Upstream {
        Upstream { name: self.settings.name.clone(), host: "127.0.0.1".into(), port: self.settings.postgres_port }
    }

    /// Another agent for the same node, as after the death of the first.
    pub fn next_agent(&mut self) {
        self.server = Server::new(self.settings.clone(), SECRET).0;
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.settings.postgres_log).unwrap_or_default()
    }

    /// Waits until an observation is what `wanted` makes of it.
    pub async fn until<T>(&mut self, what: &str, wanted: impl Fn(Observation) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let observation = self.server.observe().await;
            if let Some(found) = wanted(observation.clone()) {
                return found;
            }
            let name = &self.settings.name;
            assert!(Instant::now() < deadline, "{name}: waited until {what}, got {observation:?}\n{}", self.log());
            if let Observation::Down { last_exit } = observation {
                panic!("{name} is down while waited until {what}: {last_exit}");
            }
            sleep(POLL).await;
        }
    }

    pub async fn is_primary(&mut self) -> Primary {
        let wanted = |observation| match observation {
            Observation::Primary(primary) => Some(primary),
            _ => None,
        };
        self.until("it is a primary", wanted).await
    }

    pub async fn is_replica(&mut self, what: &str, holds: impl Fn(&Replica) -> bool) -> Replica {
        let wanted = |observation| match observation {
            Observation::Replica(replica) if holds(&replica) => Some(replica),
            _ => None,
        };
        self.until(what, wanted).await
    }

    pub async fn streams(&mut self) -> Replica {
        self.is_replica("it streams", |replica| replica.streaming_from.is_some()).await
    }

    /// A session over the private socket.
    pub async fn session(&self) -> Session {
        let socket = self.settings.postgres_socket();
        Session(Backend::login(&socket, "postgres", "postgres", &[].into()).await.unwrap())
    }

    pub async fn ask(&self, sql: &str) -> String {
        self.session().await.ask(sql).await
    }

    pub fn postmaster(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.settings.data_dir.join("postmaster.pid")).ok()?;
        let pid = Pid::from_raw(text.lines().next()?.parse().ok()?);
        kill(pid, None).ok().map(|()| pid)
    }

    pub fn kill_postmaster(&self, signal: Signal) {
        kill(self.postmaster().unwrap(), signal).unwrap();
    }

    /// Every process of PostgreSQL that stands in the data directory.
    pub fn processes(&self) -> Vec<Pid> {
        let processes = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
            let cwd = fs::read_link(entry.path().join("cwd")).ok()?;
            (cwd == self.settings.data_dir).then(|| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))?
        });
        processes.collect()
    }

    /// What lies beside the data directory.
    pub fn beside(&self) -> Vec<String> {
        let names =
            fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("data")).collect();
        names.sort();
        names
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        while let [_, ..] = self.processes()[..]
            && Instant::now() < deadline
        {
            for pid in self.processes() {
                let _ = kill(pid, Signal::SIGKILL);
            }
            std::thread::sleep(POLL);
        }
    }
}

pub struct Session(Backend);

impl Session {
    pub async fn ask(&mut self, sql: &str) -> String {
        self.attempt(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub async fn attempt(&mut self, sql: &str) -> Result<String, LoginError> {
        let rows = timeout(DEADLINE, self.0.rows(sql)).await.unwrap_or_else(|_| panic!("{sql} takes too long"))?;
        Ok(rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten().unwrap_or_default())
    }

    /// Whether `sql` is answered within `at_most`; the session is of no use otherwise.
    pub async fn answers(mut self, sql: &str, at_most: Duration) -> bool {
        timeout(at_most, self.0.rows(sql)).await.is_ok()
    }
}

/// The set of any `quorum` of `members`.
pub fn any(quorum: usize, members: &[&str]) -> SyncNames {
    SyncNames { members: members.iter().map(|name| (*name).to_owned()).collect(), quorum }
}

pub fn names(members: &[&str]) -> Vec<String> {
    members.iter().map(|name| (*name).to_owned()).collect()
}

/// Waits until `holds`.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited until {what}");
        sleep(POLL).await;
    }
}

/// The bytes of everything below `path`.
pub fn size_of(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
