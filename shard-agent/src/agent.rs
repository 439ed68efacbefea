//! An agent from start to stop.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use atoll_control::store;
use atoll_proto::auth::Token;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::governor::Governor;
use crate::lanes::handover;
use crate::lanes::slots::Slots;
use crate::meters::Meters;
use crate::node::{Membership, Shared};
use crate::patroni::Follower;
use crate::postgres::PostgresError;
use crate::postgres::keeper::Keeper;
use crate::serve::{Workers, accept, listen_unix};
use crate::settings::{InvalidSettings, LeaseStoreKind, Settings};

/// How long workers may take to say goodbye to their coordinators.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// Why an agent stopped.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
    #[error("run_dir {path}: {source}", path = path.display())]
    RunDir { path: PathBuf, source: io::Error },
    #[error("another agent runs in {path}", path = path.display())]
    Locked { path: PathBuf },
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: io::Error },
    #[error("cannot start the workers: {0}")]
    Workers(io::Error),
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    #[error("lease_endpoints: {0}")]
    LeaseStore(#[from] atoll_control::store::OpenError),
    #[error("what the node remembers beside {path}: {source}", path = path.display())]
    Memory { path: PathBuf, source: io::Error },
}

/// Who looks after PostgreSQL.
enum Warden {
    /// Patroni does; this watches.
    Follower(Box<Follower>),
    /// Alone, always the primary.
    Keeper(Box<Keeper>),
    Governor(Box<Governor>),
}

/// Serves one node until `stop`, then stops its PostgreSQL, unless Patroni runs it. `secret` is the cluster token's text. The process must already be the OS user that PostgreSQL runs as.
///
/// # Errors
/// When something it needs cannot be had at the start (PostgreSQL included), or PostgreSQL cannot be stopped. Later
/// deaths of PostgreSQL are not errors: it is restarted.
pub async fn run(settings: Settings, token: Token, secret: &str, stop: CancellationToken) -> Result<(), AgentError> {
    settings.validate()?;
    let _lock = lock_run_dir(&settings)?;
    let listen = settings.listen_address()?;
    let tcp = TcpListener::bind(listen)
        .await
        .map_err(|source| AgentError::Listen { address: settings.listen.clone(), source })?;
    let socket = settings.agent_socket();
    let handover = settings.handover_socket();
    let listen_at = |path: &Path| {
        listen_unix(path).map_err(|source| AgentError::Listen { address: path.display().to_string(), source })
    };
    let (unix, fetched) = (listen_at(&socket)?, listen_at(&handover)?);

    let slots = Slots::new(settings.lanes_max);
    let govern = |kind| {
        let governed = Governor::prepare(settings.clone(), kind, &token, secret)?;
        let group = Membership { desk: governed.desk, lease: governed.lease };
        Ok::<_, AgentError>((Warden::Governor(Box::new(governed.governor)), governed.status, Some(group)))
    };
    let (warden, status, group) = match settings.lease_store {
        LeaseStoreKind::None => {
            let (keeper, status) = Keeper::new(settings.clone());
            (Warden::Keeper(Box::new(keeper)), status, None)
        }
        LeaseStoreKind::Arbiter => govern(store::Kind::Arbiter)?,
        LeaseStoreKind::Etcd => govern(store::Kind::Etcd)?,
        LeaseStoreKind::Patroni => {
            let followed = Follower::start(settings.clone(), Arc::clone(&slots))?;
            (Warden::Follower(Box::new(followed.follower)), followed.status, Some(followed.group))
        }
    };
    let closing = CancellationToken::new();
    let shared = Arc::new(Shared {
        slots,
        meters: Meters::new(),
        handovers: Arc::default(),
        closing: closing.clone(),
        status,
        group,
        settings,
    });
    let workers = Workers::start(worker_count(&shared.settings), &shared, &token).map_err(AgentError::Workers)?;
    let Settings { name, group, listen, .. } = &shared.settings;
    tracing::info!(name, group, listen, "serving");

    let postgres = async {
        match warden {
            Warden::Keeper(keeper) => {
                let started = tokio::select! {
                    started = keeper.start() => started?,
                    () = stop.cancelled() => return Ok(keeper.stop_what_runs().await?),
                };
                Ok(keeper.keep(started, stop).await?)
            }
            Warden::Governor(governor) => governor.run(stop).await,
            Warden::Follower(follower) => {
                follower.follow(stop).await;
                Ok(())
            }
        }
    };
    let ended = tokio::select! {
        ended = postgres => ended,
        () = accept(tcp, unix, &workers) => Ok(()),
        () = handover::serve(fetched, Arc::clone(&shared.handovers)) => Ok(()),
    };
    closing.cancel();
    workers.join(GOODBYE_MAX).await;
    // The next agent makes a new one; without it, nobody waits for an answer here.
    let _ = fs::remove_file(&socket);
    let _ = fs::remove_file(&handover);
    ended
}

fn worker_count(settings: &Settings) -> usize {
    match settings.workers {
        0 => available_parallelism().map_or(1, usize::from),
        count => count as usize,
    }
}

/// Makes the run directory when it is missing, closes it to others, and takes the lock that keeps a second agent out. The
/// lock goes with the process.
fn lock_run_dir(settings: &Settings) -> Result<File, AgentError> {
    let path = &settings.run_dir;
    let make = || -> io::Result<File> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        File::options().create(true).truncate(false).write(true).open(path.join("agent.lock"))
    };
    let lock = make().map_err(|source| AgentError::RunDir { path: path.clone(), source })?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(AgentError::Locked { path: path.clone() }),
        Err(fs::TryLockError::Error(source)) => Err(AgentError::RunDir { path: path.clone(), source }),
    }
}
