//! `atoll-agent`.

use std::process::ExitCode;

use anyhow::Context;
use atoll_agent::agent;
use atoll_agent::governor::fence;
use atoll_agent::settings::Settings;
use atoll_proto::auth::Token;
use atoll_settings::Start;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == fence::ARGUMENT) {
        return fence::run();
    }
    let settings = match atoll_settings::start("atoll-agent", env!("CARGO_PKG_VERSION"), &Settings::default()) {
        Ok(Start::Run(settings)) => settings,
        Ok(Start::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("atoll-agent: {error}");
            return ExitCode::from(2);
        }
    };
    match serve(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("atoll-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(settings: Settings) -> anyhow::Result<()> {
    settings.validate()?;
    // The token may be root's to read.
    let secret = std::fs::read_to_string(&settings.token_file)
        .with_context(|| format!("token_file {}", settings.token_file.display()))?;
    let token = Token::new(&secret).context("token_file: not a token")?;
    atoll_settings::drop_privileges(&settings.run_as)?;
    atoll_settings::init_logs();
    atoll_settings::serve_metrics(&settings.metrics_listen)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("runtime")?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
        let asked = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => (),
                _ = interrupt.recv() => (),
            }
            tracing::info!("asked to stop");
            asked.cancel();
        });
        agent::run(settings, token, &secret, stop).await?;
        Ok(())
    })
}
