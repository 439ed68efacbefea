//! A real etcd cluster of three on loopback.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::certificates::Certificates;
use super::free_ports;

pub struct Etcd {
    /// host:port, for clients.
    pub endpoints: Vec<String>,
    metrics: Vec<String>,
    members: Vec<Child>,
    folder: TempDir,
}

impl Etcd {
    /// Starts three members and waits until they have a leader. Another process may take a port between its choice and its use:
    /// then all is tried again.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// With `certificates`, clients need TLS and one of their own.
    pub async fn start_with(certificates: Option<&Certificates>) -> Self {
        for _ in 0..3 {
            let mut cluster = Self::spawn(certificates);
            let deadline = Instant::now() + Duration::from_secs(60);
            while Instant::now() < deadline && !cluster.has_lost_a_member() {
                if cluster.leader().await.is_some() {
                    return cluster;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            eprintln!("an etcd cluster did not start:\n{}", cluster.logs());
        }
        panic!("etcd does not start (Debian's package etcd-server)");
    }

    fn spawn(certificates: Option<&Certificates>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = free_ports(9);
        let (clients, ports) = ports.split_at(3);
        let (peers, metrics) = ports.split_at(3);
        let url = |port: &u16| format!("http://127.0.0.1:{port}");
        let scheme = if certificates.is_some() { "https" } else { "http" };
        let client_url = |port: &u16| format!("{scheme}://127.0.0.1:{port}");
        let tls = certificates.map(|certificates| {
            let path = |name: &str| certificates.path(name).display().to_string();
            let files =
                [("cert-file", path("node.crt")), ("key-file", path("node.key")), ("trusted-ca-file", path("ca.crt"))];
            let files = files.map(|(name, path)| format!("--{name}={path}"));
            files.into_iter().chain(["--client-cert-auth".to_owned()]).collect::<Vec<_>>()
        });
        let cluster: Vec<String> = peers.iter().enumerate().map(|(i, port)| format!("m{i}={}", url(port))).collect();
        let members = (0..3)
            .map(|i| {
                let log = || File::options().append(true).create(true).open(log_of(folder.path(), i)).unwrap();
                Command::new("etcd")
                    .args(["--name", &format!("m{i}"), "--data-dir"])
                    .arg(folder.path().join(format!("m{i}")))
                    .args(["--listen-client-urls", &client_url(&clients[i])])
                    .args(["--advertise-client-urls", &client_url(&clients[i])])
                    .args(["--listen-metrics-urls", &url(&metrics[i])])
                    .args(tls.iter().flatten())
                    .args(["--listen-peer-urls", &url(&peers[i]), "--initial-advertise-peer-urls", &url(&peers[i])])
                    .args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", "new"])
                    .args(["--initial-cluster-token", &format!("test-{}", clients[0]), "--logger", "zap"])
                    .stdin(Stdio::null())
                    .stdout(log())
                    .stderr(log())
                    .spawn()
                    .expect("etcd is installed (deploy/install-debian.sh)")
            })
            .collect();
        let addresses = |ports: &[u16]| ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        Self { endpoints: addresses(clients), metrics: addresses(metrics), members, folder }
    }

    fn has_lost_a_member(&mut self) -> bool {
        self.members.iter_mut().any(|member| member.try_wait().unwrap().is_some())
    }

    fn logs(&self) -> String {
        (0..3).map(|i| std::fs::read_to_string(log_of(self.folder.path(), i)).unwrap_or_default()).collect()
    }

    /// The member that says it leads.
    pub async fn leader(&self) -> Option<usize> {
        for (index, endpoint) in self.metrics.iter().enumerate() {
            let asked = tokio::time::timeout(Duration::from_secs(1), metrics(endpoint)).await;
            if let Ok(Ok(text)) = asked
                && text.lines().any(|line| line == "etcd_server_is_leader 1")
            {
                return Some(index);
            }
        }
        None
    }

    /// Waits for one that leads now; a stopped former one does not answer.
    pub async fn await_leader(&self) -> usize {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(leader) = self.leader().await {
                return leader;
            }
            assert!(Instant::now() < deadline, "etcd has no leader:\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// kill -9.
    pub fn kill(&mut self, index: usize) {
        self.members[index].kill().unwrap();
        self.members[index].wait().unwrap();
    }

    /// Stops a member in its tracks: its connections stay, and nothing answers.
    pub fn freeze(&self, index: usize) {
        self.signal(index, Signal::SIGSTOP);
    }

    pub fn thaw(&self, index: usize) {
        self.signal(index, Signal::SIGCONT);
    }

    fn signal(&self, index: usize, signal: Signal) {
        kill(Pid::from_raw(self.members[index].id().cast_signed()), signal).unwrap();
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &mut self.members {
            // One that has ended already is no failure.
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

fn log_of(folder: &Path, index: usize) -> std::path::PathBuf {
    folder.join(format!("m{index}.log"))
}

async fn metrics(endpoint: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(endpoint).await?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}
