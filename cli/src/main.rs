//! `atoll`: starts and stops clusters on this machine, shows their state, and runs the demonstration.
//!
//! The life of `atoll up`: [`layout`] decides names, folders and ports and writes them to `DIR/cluster.json` and the
//! configuration files; a detached copy of this program ([`supervise`]) starts the agents, then the coordinators, and
//! restarts those that die; [`up`] waits for each of them, registers the nodes with a coordinator over gRPC
//! ([`rpc`]), and returns once SQL is accepted.

mod demo;
mod down;
mod group;
mod history;
mod host;
mod layout;
mod node;
mod options;
mod output;
mod process;
mod reach;
mod rpc;
mod status;
mod supervise;
mod survival;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::options::Global;

/// Administers Atoll clusters.
#[derive(Parser)]
#[command(name = "atoll", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a cluster on this machine, creating it when the folder is new
    Up(up::Options),
    /// Stop the cluster of a folder; its data stays
    Down,
    /// Show coordinators, groups, nodes and shards
    Status,
    /// Add, remove and rebuild nodes
    #[command(subcommand)]
    Node(node::Command),
    /// Switch over, fail over, pause and tune groups, and show their history
    #[command(subcommand)]
    Group(group::Command),
    /// Load TPC-H into a cluster and into a plain PostgreSQL, and compare their answers
    Demo(demo::Options),
    #[command(hide = true)]
    Supervise,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The supervisor closes every descriptor it did not open, so it must come before any runtime.
    let outcome = match cli.command {
        Command::Supervise => supervise::run(&cli.global),
        command => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(anyhow::Error::from)
            .and_then(|runtime| runtime.block_on(dispatch(cli.global, command))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::say(format_args!("atoll: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(global: Global, command: Command) -> anyhow::Result<()> {
    let settings = options::Settings::resolve(&global)?;
    match command {
        Command::Up(options) => up::run(&settings, &options).await,
        Command::Down => down::run(&settings).await,
        Command::Status => status::run(&settings).await,
        Command::Node(command) => node::run(&settings, command).await,
        Command::Group(command) => group::run(&settings, command).await,
        Command::Demo(options) => demo::run(&settings, &options).await,
        Command::Supervise => anyhow::bail!("`supervise` runs outside the runtime"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_are_accepted_anywhere() {
        for line in [
            ["atoll", "--dir", "/d", "status", "--json"],
            ["atoll", "--json", "status", "--dir", "/d"],
            ["atoll", "status", "--json", "--dir", "/d"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(cli.global.dir.as_deref(), Some(std::path::Path::new("/d")));
            assert!(cli.global.json);
        }
    }
}
