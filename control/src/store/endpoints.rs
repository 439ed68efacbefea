//! The servers of a lease store, any of which may answer.

use std::error::Error as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::{OpenError, StoreError, TlsFiles};

/// How often a connection with calls under way is asked for a sign of life. etcd closes connections that ask more often than every 5 s.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Endpoints {
    /// host:port, and the connection.
    members: Vec<(String, Channel)>,
    /// The one that answered last: it is asked first.
    first: AtomicUsize,
}

impl Endpoints {
    /// Connects when first used. Without `tls` no endpoint may be https.
    pub fn new(addresses: &[String], tls: Option<&TlsFiles>, connect_timeout: Duration) -> Result<Self, OpenError> {
        let member = |address: &String| {
            let wrong = || OpenError::Endpoint { endpoint: address.clone() };
            let (host_port, scheme) = match (address.strip_prefix("https://"), tls) {
                (Some(_), None) => return Err(wrong()),
                (Some(host_port), Some(_)) => (host_port, "https"),
                (None, _) => (address.strip_prefix("http://").unwrap_or(address), "http"),
            };
            let mut endpoint = Endpoint::from_shared(format!("{scheme}://{host_port}")).map_err(|_| wrong())?;
            if host_port.contains('/') || endpoint.uri().port_u16().is_none() {
                return Err(wrong());
            }
            if let (Some(tls), "https") = (tls, scheme) {
                let refused = |error: tonic::transport::Error| OpenError::Tls {
                    path: tls.ca_file.display().to_string(),
                    reason: error.to_string(),
                };
                endpoint = endpoint.tls_config(tls_config(tls, address)?).map_err(refused)?;
            }
            let channel = endpoint
                .connect_timeout(connect_timeout)
                .http2_keep_alive_interval(KEEPALIVE)
                .keep_alive_timeout(KEEPALIVE_TIMEOUT)
                .tcp_nodelay(true)
                .connect_lazy();
            Ok((host_port.to_owned(), channel))
        };
        let members = addresses.iter().map(member).collect::<Result<Vec<_>, _>>()?;
        if members.is_empty() {
            return Err(OpenError::NoEndpoint);
        }
        Ok(Self { members, first: AtomicUsize::new(0) })
    }

    /// Asks one server after the other until one answers. The next is asked as soon as one fails, or has let its share of the time until
    /// `until` pass; it is still listened to then. So `call` may be done more than once, and an older one after a newer.
    pub async fn call<T, Answer>(&self, until: Instant, call: impl Fn(Channel) -> Answer) -> Result<T, StoreError>
    where
        Answer: Future<Output = Result<T, Status>>,
    {
        let count = self.members.len();
        let first = self.first.load(Ordering::Relaxed);
        let mut next = Instant::now();
        let share = until.saturating_duration_since(next) / u32::try_from(count).unwrap_or(u32::MAX);
        let mut asked = 0;
        let mut waiting = FuturesUnordered::new();
        let mut failures = Vec::new();
        while failures.len() < count {
            tokio::select! {
                biased;
                Some((index, answer)) = waiting.next() => match answer {
                    Ok(answer) => {
                        self.first.store(index, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Err(status) => {
                        failures.push(format!("{}: {}", self.members[index].0, describe(&status)));
                        next = Instant::now();
                    }
                },
                () = sleep_until(next), if asked < count => {
                    let index = (first + asked) % count;
                    let answer = call(self.members[index].1.clone());
                    waiting.push(async move { (index, answer.await) });
                    asked += 1;
                    next += share;
                }
                () = sleep_until(until) => {
                    failures.push("no answer in time".to_owned());
                    break;
                }
            }
        }
        Err(StoreError::Unreachable(failures.join("; ")))
    }
}

fn tls_config(files: &TlsFiles, endpoint: &str) -> Result<ClientTlsConfig, OpenError> {
    let read = |path: &Path| {
        std::fs::read(path)
            .map_err(|error| OpenError::Tls { path: path.display().to_string(), reason: error.to_string() })
    };
    let has = |path: &Path| !path.as_os_str().is_empty();
    if !has(&files.ca_file) {
        return Err(OpenError::NoAuthority { endpoint: endpoint.to_owned() });
    }
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&files.ca_file)?));
    match (has(&files.cert_file), has(&files.key_file)) {
        (false, false) => Ok(config),
        (true, true) => Ok(config.identity(Identity::from_pem(read(&files.cert_file)?, read(&files.key_file)?))),
        _ => Err(OpenError::HalfIdentity),
    }
}

/// A status in words, with what is behind it: "transport error" alone tells nobody anything.
fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = status.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}
