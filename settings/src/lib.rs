//! What both servers do before they serve: find their settings, give up root, start logs and metrics.
//!
//! ```ignore
//! let settings = match atoll_settings::start("atoll-agent", env!("CARGO_PKG_VERSION"), &Settings::default()) {
//!     Ok(Start::Run(settings)) => settings,
//!     Ok(Start::Print(text)) => { print!("{text}"); return ExitCode::SUCCESS; }
//!     Err(error) => { eprintln!("atoll-agent: {error}"); return ExitCode::from(2); }
//! };
//! atoll_settings::drop_privileges(&settings.run_as)?;
//! atoll_settings::init_logs();
//! atoll_settings::serve_metrics(&settings.metrics_listen)?;
//! ```
//!
//! Settings are one flat struct whose `Default` names every key. In rising order of precedence: the defaults, the TOML
//! file (`--config FILE`), the environment (`ATOLL_LISTEN`), flags (`--listen`). A field that is a map (say
//! `postgres_settings`) takes any key below it: `--postgres-settings.work_mem 8MB`, `ATOLL_POSTGRES_SETTINGS__WORK_MEM`.

mod arguments;
mod layers;
mod privileges;
mod telemetry;

pub use arguments::{Arguments, Start, parse_arguments, start};
pub use layers::{SettingsError, load, print};
pub use privileges::{PrivilegeError, drop_privileges};
pub use telemetry::{TelemetryError, init_logs, serve_metrics};
