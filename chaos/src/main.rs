//! `atoll-chaos`: breaks real clusters in every way that machines, networks and clocks can break, while clients write, and then looks for
//! what was lost. Also measures how long writes stand still.

mod faults;
mod init;
mod lab;
mod load;
mod oracles;
mod reads;
mod run;
mod steps;
mod switchover;
mod times;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use lab::{Lab, Programs, Topology, network};

#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    places: Places,
}

/// Where things are.
#[derive(Debug, Clone, Args)]
struct Places {
    /// Folder for configuration, logs and data; it stays when something is wrong [default: a new one in /tmp]
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
    /// Folder of atoll-agent and atoll-coordinator [default: that of this program]
    #[arg(long, global = true)]
    programs: Option<PathBuf>,
    /// Folder of PostgreSQL's server programs
    #[arg(long, global = true, default_value = "/usr/lib/postgresql/15/bin")]
    pg_bindir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The first process of a machine; started by the lab
    #[command(hide = true)]
    Init,
    /// Faults one after the other while clients write; ends with what was lost
    Run(run::RunArguments),
    /// How long writes stand still when a primary dies, beside Debian's Patroni; writes target/failover-times.json
    Times(times::TimesArguments),
    /// Planned switchovers under load
    Switchover(switchover::SwitchoverArguments),
    /// A failure at each step of a commit over two groups
    Steps(steps::StepsArguments),
    /// kill -9 of a primary together with a coordinator, at random moments under load
    KillBoth(run::KillBothArguments),
    /// Where reads go, and that nobody reads what is older than what he wrote
    Reads(reads::ReadsArguments),
    /// Starts a cluster and keeps it until it is interrupted
    Lab(LabArguments),
}

#[derive(Debug, Clone, Args)]
struct LabArguments {
    #[arg(long, default_value_t = 3)]
    groups: u8,
    #[arg(long, default_value_t = 3)]
    nodes: u8,
    #[arg(long, default_value_t = 3)]
    stores: u8,
    #[arg(long, default_value_t = 2)]
    coordinators: u8,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if matches!(arguments.command, Command::Init) {
        return init::run();
    }
    match start(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("atoll-chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> Result<()> {
    // Threads take the namespaces of the thread that starts them: before the runtime has any.
    network::enter()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        network::make_bridge().await?;
        run(arguments).await
    })
}

async fn run(arguments: &Arguments) -> Result<()> {
    let places = &arguments.places;
    let own = match &places.programs {
        Some(folder) => folder.clone(),
        None => std::env::current_exe()?.parent().context("a program without a folder")?.to_owned(),
    };
    let programs = Programs { own, postgres: places.pg_bindir.clone() };
    let dir = places.dir.clone().unwrap_or_else(|| PathBuf::from(format!("/tmp/atoll-chaos-{}", std::process::id())));
    match &arguments.command {
        Command::Init => return Ok(()),
        Command::Run(wanted) => run::run(wanted, &dir, &programs).await?,
        Command::Steps(wanted) => steps::run(wanted, &dir, &programs).await?,
        Command::Switchover(wanted) => switchover::run(wanted, &dir, &programs).await?,
        Command::KillBoth(wanted) => run::run(&wanted.as_run(), &dir, &programs).await?,
        Command::Reads(wanted) => reads::run(wanted, &dir, &programs).await?,
        Command::Times(wanted) => times::run(wanted, &dir, &programs).await?,
        Command::Lab(wanted) => {
            let topology = Topology {
                groups: wanted.groups,
                nodes: wanted.nodes,
                stores: wanted.stores,
                coordinators: wanted.coordinators,
                data_bytes: Some(1 << 30),
                clocks: true,
                capacities: Vec::new(),
            };
            let lab = Lab::start(&dir, topology, &programs).await?;
            println!("whole: {} nodes, coordinators on {}", lab.nodes.len(), lab.coordinator_addresses().join(", "));
            println!(
                "enter its network with: nsenter -t {} -n psql -h HOST -p PORT -U postgres app",
                std::process::id()
            );
            tokio::signal::ctrl_c().await?;
            lab.stop().await;
        }
    }
    // Only what went well needs no looking into.
    std::fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))
}
