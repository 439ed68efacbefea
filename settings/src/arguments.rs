//! The command line: one flag for every key, and the few that are the same for every server.

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::layers::{Keys, SettingsError, load, print};

/// What the command line asked for.
#[derive(Debug, Default, PartialEq)]
pub struct Arguments {
    /// `--config FILE`.
    pub file: Option<PathBuf>,
    /// `--print-config`.
    pub print: bool,
    /// `--help`.
    pub help: bool,
    /// `--version`.
    pub version: bool,
    /// Every other flag as key (`lanes_max`) and value, in order.
    pub overrides: Vec<(String, String)>,
}

/// What a server is to do.
#[derive(Debug)]
pub enum Start<T> {
    /// Serve with these settings.
    Run(T),
    /// Print this on standard output and exit with 0.
    Print(String),
}

/// The settings in force for this process, from its command line and environment.
///
/// # Errors
/// As [`load`], and flags that are malformed. The process should print the error and exit with 2.
pub fn start<T: DeserializeOwned + Serialize>(
    program: &str,
    version: &str,
    defaults: &T,
) -> Result<Start<T>, SettingsError> {
    let arguments = parse_arguments(std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into()))?;
    if arguments.help {
        return Ok(Start::Print(help(program, defaults)?));
    }
    if arguments.version {
        return Ok(Start::Print(format!("{program} {version}\n")));
    }
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let settings = load(defaults, arguments.file.as_deref(), "ATOLL_", environment, &arguments.overrides)?;
    Ok(if arguments.print { Start::Print(print(&settings)?) } else { Start::Run(settings) })
}

/// Reads `--key value` and `--key=value`; a dash inside a key stands for an underscore.
///
/// # Errors
/// A flag without its value, or an argument that is no flag.
pub fn parse_arguments(arguments: impl IntoIterator<Item = String>) -> Result<Arguments, SettingsError> {
    let mut parsed = Arguments::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let Some(flag) = argument.strip_prefix("--") else {
            match argument.as_str() {
                "-h" => parsed.help = true,
                "-V" => parsed.version = true,
                _ => return Err(SettingsError::NotAFlag { argument }),
            }
            continue;
        };
        match flag {
            "help" => parsed.help = true,
            "version" => parsed.version = true,
            "print-config" => parsed.print = true,
            _ => {
                let (flag, value) = match flag.split_once('=') {
                    Some((flag, value)) => (flag, value.to_owned()),
                    None => {
                        let missing = || SettingsError::MissingValue { flag: flag.to_owned() };
                        (flag, arguments.next().ok_or_else(missing)?)
                    }
                };
                if flag == "config" {
                    parsed.file = Some(value.into());
                } else {
                    parsed.overrides.push((flag.replace('-', "_"), value));
                }
            }
        }
    }
    Ok(parsed)
}

fn help<T: Serialize>(program: &str, defaults: &T) -> Result<String, SettingsError> {
    let mut text = format!(
        "Usage: {program} [--config FILE] [--print-config] [--KEY VALUE]...\n\n\
         Every key can also stand in the file, or in the environment with the prefix ATOLL_.\n\n"
    );
    for (key, value) in Keys::of(defaults)?.iter() {
        let shown = match value {
            Value::Object(_) => format!(".NAME  any {key}"),
            Value::String(value) if value.is_empty() => String::new(),
            Value::String(value) => format!("  [default: {value}]"),
            Value::Null => String::new(),
            value => format!("  [default: {value}]"),
        };
        text.push_str(&format!("  --{}{shown}\n", key.replace('_', "-")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, SettingsError> {
        parse_arguments(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_take_their_value_either_way() {
        let arguments = parse("--config a.toml --lanes-max 5 --listen=:1 --print-config").unwrap();
        assert_eq!(arguments.file, Some("a.toml".into()));
        assert!(arguments.print);
        assert_eq!(arguments.overrides, [("lanes_max".into(), "5".into()), ("listen".into(), ":1".into())]);
    }

    #[test]
    fn malformed_flags_are_refused() {
        assert!(matches!(parse("--listen"), Err(SettingsError::MissingValue { flag }) if flag == "listen"));
        assert!(matches!(parse("listen"), Err(SettingsError::NotAFlag { .. })));
    }
}
