//! Patroni's REST API.

use std::io;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long one call may take.
const CALL_MAX: Duration = Duration::from_secs(1);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("no answer within {} s", CALL_MAX.as_secs())]
    Timeout,
    #[error("it answered {status} to GET {path}")]
    Status { status: u16, path: &'static str },
    #[error("its answer to GET {path} is not understood: {why}")]
    Answer { path: &'static str, why: String },
}

/// What Patroni says of its node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Whether it is sure now to hold the group's lock.
    #[serde(skip)]
    pub holds_lock: bool,
    /// Of PostgreSQL: "running", "streaming", "starting", "stopped", ...
    pub state: String,
    /// "master", "primary", "replica" or "standby_leader"; what PostgreSQL is, whoever holds the lock.
    pub role: String,
    pub timeline: Option<u32>,
    pub xlog: Positions,
    /// Unix seconds of when Patroni last read its store.
    pub dcs_last_seen: Option<u64>,
    /// Maintenance: nobody is promoted.
    pub pause: bool,
    /// The store is away, and all members keep to the present leader.
    pub failsafe_mode_is_active: bool,
}

/// WAL positions in bytes: `location` of a primary, the others of a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Positions {
    pub location: Option<u64>,
    pub received_location: Option<u64>,
    pub replayed_location: Option<u64>,
}

impl Report {
    pub fn is_primary(&self) -> bool {
        matches!(self.role.as_str(), "master" | "primary")
    }

    pub fn is_running(&self) -> bool {
        matches!(self.state.as_str(), "running" | "streaming" | "in archive recovery")
    }
}

/// The group's times, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Times {
    pub ttl: u64,
    /// For so long Patroni tries to renew its lock.
    pub retry_timeout: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self { ttl: 30, retry_timeout: 10 }
    }
}

/// A client of the API at `address` (host:port).
pub struct Rest {
    address: String,
}

impl Rest {
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned() }
    }

    /// How its node is. The body is that of /patroni; the status says whether the lock is held, which the body does not.
    ///
    /// # Errors
    /// When there is no answer that can be read.
    pub async fn report(&self) -> Result<Report, RestError> {
        const PATH: &str = "/primary";
        let (status, body) = self.get(PATH).await?;
        if !matches!(status, 200 | 503) {
            return Err(RestError::Status { status, path: PATH });
        }
        let report: Report = read(PATH, &body)?;
        Ok(Report { holds_lock: status == 200, ..report })
    }

    /// The group's dynamic configuration; what it leaves out has Patroni's default.
    ///
    /// # Errors
    /// When there is no answer that can be read.
    pub async fn times(&self) -> Result<Times, RestError> {
        const PATH: &str = "/config";
        match self.get(PATH).await? {
            (200, body) => read(PATH, &body),
            (status, _) => Err(RestError::Status { status, path: PATH }),
        }
    }

    async fn get(&self, path: &'static str) -> Result<(u16, Vec<u8>), RestError> {
        let answer = timeout(CALL_MAX, self.exchange(path)).await.map_err(|_| RestError::Timeout)??;
        split(&answer).ok_or_else(|| RestError::Answer { path, why: "it is no HTTP".into() })
    }

    /// HTTP/1.0: the answer ends with the connection.
    async fn exchange(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok(answer)
    }
}

/// Status and body of an answer.
fn split(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = str::from_utf8(&answer[..end]).ok()?;
    let mut words = head.lines().next()?.split(' ');
    let status = words.next().filter(|version| version.starts_with("HTTP/1.")).and(words.next())?;
    Some((status.parse().ok()?, answer[end + 4..].to_vec()))
}

fn read<T: DeserializeOwned>(path: &'static str, body: &[u8]) -> Result<T, RestError> {
    serde_json::from_slice(body).map_err(|error| RestError::Answer { path, why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What the client makes of `answer`.
    async fn report_of(answer: &'static str) -> Result<Report, RestError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let rest = Rest::new(&listener.local_addr().unwrap().to_string());
        let serve = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 256];
            let len = stream.read(&mut request).await.unwrap();
            assert!(request[..len].starts_with(b"GET /primary HTTP/1.0\r\n"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let report = rest.report().await;
        serve.await.unwrap();
        report
    }

    #[tokio::test]
    async fn reports_are_read() {
        let primary = report_of(
            "HTTP/1.0 200 OK\r\nServer: BaseHTTP/0.6\r\n\r\n{\"state\": \"running\", \"role\": \"master\", \
             \"server_version\": 150018, \"xlog\": {\"location\": 67108960}, \"timeline\": 3, \
             \"dcs_last_seen\": 1700000000, \"patroni\": {\"version\": \"3.0.2\", \"scope\": \"g\"}}",
        );
        let primary = primary.await.unwrap();
        assert!(primary.holds_lock && primary.is_primary() && primary.is_running());
        assert_eq!((primary.timeline, primary.xlog.location), (Some(3), Some(67_108_960)));
        assert_eq!(primary.dcs_last_seen, Some(1_700_000_000));

        let replica = report_of(
            "HTTP/1.0 503 Service Unavailable\r\n\r\n{\"state\": \"streaming\", \"role\": \"replica\", \"timeline\": null, \
             \"xlog\": {\"received_location\": 2, \"replayed_location\": null, \"paused\": false}, \"pause\": true}",
        );
        let replica = replica.await.unwrap();
        assert!(!replica.holds_lock && !replica.is_primary() && replica.is_running() && replica.pause);
        assert_eq!((replica.timeline, replica.xlog.received_location), (None, Some(2)));
    }

    #[tokio::test]
    async fn what_is_no_report_is_an_error() {
        let cut = report_of("HTTP/1.0 200 OK\r\n\r\n{\"state\": \"runn").await;
        assert!(matches!(cut, Err(RestError::Answer { .. })), "{cut:?}");
        let elsewhere = report_of("HTTP/1.1 404 Not Found\r\n\r\n{}").await;
        assert!(matches!(elsewhere, Err(RestError::Status { status: 404, .. })), "{elsewhere:?}");
        let other = report_of("SSH-2.0-OpenSSH_9.2\r\n").await;
        assert!(matches!(other, Err(RestError::Answer { .. })), "{other:?}");
    }
}
