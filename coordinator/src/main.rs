//! `atoll-coordinator`: reads its settings, gives up root, and serves.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use atoll_control::arbiter::Arbiter;
use atoll_coordinator::admin::{AdminServer, Identity};
use atoll_coordinator::cluster::Cluster;
use atoll_coordinator::config::Config;
use atoll_coordinator::directory::{DIRECTORY_DATABASE, Keeper, KeeperSettings, bootstrap, recovery};
use atoll_coordinator::drain::Drain;
use atoll_coordinator::listener::{self, WorkerHandle};
use atoll_coordinator::session::tls;
use atoll_coordinator::worker::Worker;
use atoll_merge::{Engine, EngineOptions};
use atoll_proto::auth::Token;
use atoll_settings::Start;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Planning makes many small objects that live long in the plan cache, between others that do not: glibc's heap grows with the holes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Stack of a thread that serves clients: statements are as deep as the parsers let them be. Only what is used takes memory.
const WORKER_STACK_BYTES: usize = 16 << 20;

fn main() -> ExitCode {
    let config = match atoll_settings::start("atoll-coordinator", env!("CARGO_PKG_VERSION"), &Config::default()) {
        Ok(Start::Run(config)) => config,
        Ok(Start::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("atoll-coordinator: {error}");
            return ExitCode::from(2);
        }
    };
    atoll_settings::init_logs();
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("atoll-coordinator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> Result<()> {
    let config = config.validated()?;
    let secret_text = std::fs::read_to_string(&config.token_file)
        .with_context(|| format!("cannot read the cluster token {}", config.token_file.display()))?;
    let tls = tls::server_config(&config.tls_certificate_file, &config.tls_key_file)?;
    atoll_settings::drop_privileges(&config.run_as)?;
    atoll_settings::serve_metrics(&config.metrics_listen)?;
    let token = Token::new(&secret_text).context("the cluster token cannot stand in a header")?;
    let control =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("control").enable_all().build()?;
    let handle = control.handle().clone();
    control.block_on(serve(config, token, bootstrap::secret(&secret_text), tls, handle))
}

async fn serve(
    config: Config,
    token: Token,
    secret: String,
    tls: Option<Arc<rustls::ServerConfig>>,
    control: tokio::runtime::Handle,
) -> Result<()> {
    let listener =
        TcpListener::bind(&config.listen).await.with_context(|| format!("cannot listen on {}", config.listen))?;
    let drain = Arc::new(Drain::new(Duration::from_secs(config.drain_seconds_max)));
    let arbiter = if config.arbiter_file.as_os_str().is_empty() {
        Arbiter::none()
    } else {
        // It ends with the process: agents give their leases back until then.
        Arbiter::start(&config.arbiter_file, CancellationToken::new()).await?
    };
    let keeper = Keeper::start(KeeperSettings {
        coordinator: config.name.clone(),
        home_nodes: config.home_agents(),
        home_group: config.home_group.clone(),
        token: token.clone(),
        secret: secret.clone(),
    });
    let live = Arc::default();
    recovery::start(&keeper, Arc::clone(&live));
    let address = listener.local_addr()?;
    let identity = Identity { name: config.name.clone(), host: address.ip().to_string(), port: address.port() };
    let admin = Arc::new(AdminServer::start(identity, keeper.clone(), arbiter, &token, drain.clone())?);
    let options = EngineOptions { memory_bytes: config.merge_memory_bytes as usize, ..EngineOptions::default() };
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let cluster = Arc::new(Cluster {
        token,
        secret,
        keeper,
        merge: Arc::new(Engine::new(options, control.clone())),
        control,
        cancels: Arc::default(),
        live,
        drain: drain.clone(),
        tls,
        superuser: "postgres".into(),
        directory_database: DIRECTORY_DATABASE.into(),
        incarnation: format!("{:x}", started.as_millis()),
        config,
    });
    let workers = (0..cluster.config.workers).map(|index| start_worker(index, &cluster)).collect::<Result<Vec<_>>>()?;
    tracing::info!(listen = %listener.local_addr()?, "accepting connections");
    tokio::spawn(listener::serve(listener, workers, admin));

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: idle sessions end now, others have {} s", cluster.config.drain_seconds_max);
    drain.run().await;
    // Sessions still at work are cut off; their backends roll back.
    std::process::exit(0)
}

/// Starts a data-path thread; it lives as long as the process.
fn start_worker(index: usize, cluster: &Arc<Cluster>) -> Result<WorkerHandle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .stack_size(WORKER_STACK_BYTES)
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    let worker = Arc::new(Worker::new(cluster.clone()));
    handle.spawn(worker.clone().follow_leaders());
    Ok(WorkerHandle { runtime: handle, worker })
}
