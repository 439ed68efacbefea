//! The flags every command takes, and the optional configuration file behind them.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde::Deserialize;

/// Flags accepted anywhere on the line of every command.
#[derive(Args, Clone, Debug, Default)]
pub struct Global {
    /// Folder of a local cluster [default: $ATOLL_DIR, else /var/lib/atoll as root, else ~/.local/share/atoll]
    #[arg(long, global = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Host of a coordinator
    #[arg(long, global = true, value_name = "HOST")]
    pub host: Option<String>,
    /// Client port of a coordinator
    #[arg(long, global = true, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Answer yes to every question
    #[arg(long, global = true)]
    pub yes: bool,
    /// TOML file with defaults for dir, host, port and token_file
    #[arg(long, global = true, env = "ATOLL_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The keys of the file named by `--config`.
const FILE_KEYS: [&str; 4] = ["dir", "host", "port", "token_file"];

#[derive(Debug, Default, Deserialize)]
struct File {
    dir: Option<PathBuf>,
    host: Option<String>,
    port: Option<u16>,
    token_file: Option<PathBuf>,
}

/// What is in force: flags over environment over file over defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Absolute, with links resolved as far as it exists.
    pub dir: PathBuf,
    /// Whether the folder was named by flag or file.
    pub dir_given: bool,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub token_file: Option<PathBuf>,
    pub json: bool,
    pub yes: bool,
}

impl Settings {
    /// # Errors
    /// When the configuration file cannot be read or holds an unknown key.
    pub fn resolve(global: &Global) -> anyhow::Result<Self> {
        let file = match &global.config {
            None => File::default(),
            Some(path) => read_file(path)?,
        };
        let given = global.dir.clone();
        let given = given.or_else(|| std::env::var_os("ATOLL_DIR").map(PathBuf::from)).or(file.dir);
        Ok(Self {
            dir_given: given.is_some(),
            dir: real(&given.unwrap_or_else(default_dir))?,
            host: global.host.clone().or(file.host),
            port: global.port.or(file.port),
            token_file: std::env::var_os("ATOLL_TOKEN_FILE").map(PathBuf::from).or(file.token_file),
            json: global.json,
            yes: global.yes,
        })
    }
}

fn read_file(path: &Path) -> anyhow::Result<File> {
    let text = std::fs::read_to_string(path).with_context(|| format!("configuration file {}", path.display()))?;
    parse_file(&text).with_context(|| format!("configuration file {}", path.display()))
}

fn parse_file(text: &str) -> anyhow::Result<File> {
    let table: toml::Table = text.parse()?;
    for key in table.keys() {
        if !FILE_KEYS.contains(&key.as_str()) {
            let nearest = FILE_KEYS
                .into_iter()
                .max_by(|a, b| strsim::jaro_winkler(a, key).total_cmp(&strsim::jaro_winkler(b, key)))
                .unwrap_or_default();
            bail!("unknown key `{key}`; did you mean `{nearest}`?");
        }
    }
    Ok(table.try_into()?)
}

/// Makes a path absolute and resolves links in the part of it that exists, so that one folder has one name.
///
/// # Errors
/// When the path is empty.
pub fn real(path: &Path) -> anyhow::Result<PathBuf> {
    let path = std::path::absolute(path).with_context(|| format!("folder {}", path.display()))?;
    let Some(existing) = path.ancestors().find(|ancestor| ancestor.exists()) else {
        return Ok(path);
    };
    Ok(match (existing.canonicalize(), path.strip_prefix(existing)) {
        (Ok(existing), Ok(rest)) if rest.as_os_str().is_empty() => existing,
        (Ok(existing), Ok(rest)) => existing.join(rest),
        _ => path,
    })
}

fn default_dir() -> PathBuf {
    match std::env::var_os("HOME") {
        Some(home) if !nix::unistd::Uid::effective().is_root() => Path::new(&home).join(".local/share/atoll"),
        _ => PathBuf::from("/var/lib/atoll"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_resolved_as_far_as_the_path_exists() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        std::fs::create_dir(base.join("a")).unwrap();
        std::os::unix::fs::symlink(base.join("a"), base.join("b")).unwrap();
        assert_eq!(real(&base.join("b")).unwrap(), base.join("a"));
        assert_eq!(real(&base.join("b/c/d")).unwrap(), base.join("a/c/d"));
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_name() {
        let error = parse_file("tokenfile = \"x\"").unwrap_err().to_string();
        assert_eq!(error, "unknown key `tokenfile`; did you mean `token_file`?");
        assert_eq!(parse_file("port = 5433").unwrap().port, Some(5433));
    }
}
