//! Defaults, file, environment and flags, laid over each other.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use config::{Config, Environment};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Why settings could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("cannot read {path}: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}", path = path.display())]
    NotToml { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{origin}: unknown key \"{key}\"{}", suggestion(.nearest))]
    UnknownKey { origin: String, key: String, nearest: Option<String> },
    #[error("--{flag} needs a value")]
    MissingValue { flag: String },
    #[error("\"{argument}\" is not a flag; see --help")]
    NotAFlag { argument: String },
    #[error("{0}")]
    Value(#[from] config::ConfigError),
    #[error("the settings cannot be written down: {0}")]
    Unprintable(String),
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |key| format!("; did you mean \"{key}\"?"))
}

/// The keys that exist, from the serialized defaults.
pub(crate) struct Keys(Map<String, Value>);

impl Keys {
    pub(crate) fn of<T: Serialize>(defaults: &T) -> Result<Self, SettingsError> {
        match serde_json::to_value(defaults) {
            Ok(Value::Object(keys)) => Ok(Self(keys)),
            Ok(_) => Err(SettingsError::Unprintable("they are not a struct".into())),
            Err(error) => Err(SettingsError::Unprintable(error.to_string())),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0.iter()
    }

    /// Whether `key` is one, or lies below one that is a map.
    pub(crate) fn contains(&self, key: &str) -> bool {
        match key.split_once('.') {
            None => self.0.contains_key(key),
            Some((map, _)) => matches!(self.0.get(map), Some(Value::Object(_))),
        }
    }

    fn is_list(&self, key: &str) -> bool {
        matches!(self.0.get(key), Some(Value::Array(_)))
    }

    /// The known key most like `key`, when one is like it at all.
    pub(crate) fn nearest(&self, key: &str) -> Option<String> {
        self.0
            .keys()
            .map(|known| (strsim::jaro_winkler(known, key), known))
            .filter(|(likeness, _)| *likeness > 0.7)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, known)| known.clone())
    }

    /// The known key of which `key` is a slip of one or two letters.
    fn mistyped(&self, key: &str) -> Option<String> {
        self.0.keys().find(|known| known.len() > 4 && strsim::damerau_levenshtein(known, key) <= 2).cloned()
    }

    pub(crate) fn unknown(&self, origin: impl Into<String>, key: &str) -> SettingsError {
        SettingsError::UnknownKey { origin: origin.into(), key: key.to_owned(), nearest: self.nearest(key) }
    }
}

/// The settings in force: `defaults`, over them the TOML `file`, over it those of `environment` (name and value) that
/// start with `prefix`, over them `overrides` (key and value; a list's items are separated by commas).
///
/// A variable with the prefix that no key resembles is taken to be another program's and ignored; one that differs
/// from a key by a slip of the fingers is refused.
///
/// # Errors
/// An unreadable file, a key that does not exist (naming the nearest one that does), a value of the wrong type.
pub fn load<T: DeserializeOwned + Serialize>(
    defaults: &T,
    file: Option<&Path>,
    prefix: &str,
    environment: impl IntoIterator<Item = (String, String)>,
    overrides: &[(String, String)],
) -> Result<T, SettingsError> {
    let keys = Keys::of(defaults)?;
    let mut builder = Config::builder().add_source(Config::try_from(defaults)?);
    // The source above leaves out what is empty.
    for (key, value) in keys.iter() {
        builder = match value {
            Value::Array(items) if items.is_empty() => builder.set_default(key, Vec::<String>::new())?,
            Value::Object(map) if map.is_empty() => builder.set_default(key, HashMap::<String, String>::new())?,
            _ => builder,
        };
    }
    if let Some(path) = file {
        builder = builder.add_source(read_file(path, &keys)?);
    }
    let mut variables = HashMap::new();
    for (name, value) in environment {
        let Some(rest) = name.strip_prefix(prefix) else { continue };
        let key = rest.to_lowercase().replace("__", ".");
        if keys.is_list(&key) {
            builder = builder.set_override(key, list(&value))?;
        } else if keys.contains(&key) {
            variables.insert(key, value);
        } else if let Some(nearest) = keys.mistyped(&key) {
            let origin = format!("environment variable {name}");
            return Err(SettingsError::UnknownKey { origin, key, nearest: Some(nearest) });
        }
    }
    builder = builder.add_source(Environment::default().separator(".").source(Some(variables)));
    for (key, value) in overrides {
        if !keys.contains(key) {
            return Err(keys.unknown("flag", key));
        }
        builder = if keys.is_list(key) {
            builder.set_override(key, list(value))?
        } else {
            builder.set_override(key, value.as_str())?
        };
    }
    Ok(builder.build()?.try_deserialize()?)
}

fn list(value: &str) -> Vec<String> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn read_file(path: &Path, keys: &Keys) -> Result<Config, SettingsError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| SettingsError::Unreadable { path: path.to_owned(), source })?;
    let table: toml::Table = toml::from_str(&text)
        .map_err(|source| SettingsError::NotToml { path: path.to_owned(), source: Box::new(source) })?;
    if let Some(key) = table.keys().find(|key| !keys.contains(key)) {
        return Err(keys.unknown(path.display().to_string(), key));
    }
    Ok(Config::try_from(&table)?)
}

/// `settings` as TOML, as a file for `--config` would hold them.
///
/// # Errors
/// When a value has no TOML form.
pub fn print<T: Serialize>(settings: &T) -> Result<String, SettingsError> {
    toml::to_string_pretty(settings).map_err(|error| SettingsError::Unprintable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    struct Sample {
        name: String,
        listen: String,
        capacity: f64,
        lanes_max: u32,
        tls: bool,
        hosts: Vec<String>,
        mode: Mode,
        postgres_settings: BTreeMap<String, String>,
    }

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        Trust,
        Scram,
    }

    fn defaults() -> Sample {
        Sample {
            name: String::new(),
            listen: "127.0.0.1:1".into(),
            capacity: 1.0,
            lanes_max: 80,
            tls: false,
            hosts: vec![],
            mode: Mode::Trust,
            postgres_settings: BTreeMap::from([("work_mem".into(), "4MB".into())]),
        }
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    #[test]
    fn later_layers_win() {
        let file = file("name = \"n1\"\nlanes_max = 10\ncapacity = 2\n[postgres_settings]\nshared_buffers = \"1GB\"\n");
        let environment = pairs(&[
            ("ATOLL_LANES_MAX", "11"),
            ("ATOLL_TLS", "true"),
            ("ATOLL_HOSTS", "a,b"),
            ("ATOLL_LOG", "debug"),
            ("ATOLL_POSTGRES_SETTINGS__WORK_MEM", "8MB"),
            ("HOME", "/"),
        ]);
        let flags = pairs(&[("lanes_max", "12"), ("mode", "scram"), ("postgres_settings.fsync", "on")]);
        let got = load(&defaults(), Some(file.path()), "ATOLL_", environment, &flags).unwrap();
        assert_eq!(
            got,
            Sample {
                name: "n1".into(),
                capacity: 2.0,
                lanes_max: 12,
                tls: true,
                hosts: vec!["a".into(), "b".into()],
                mode: Mode::Scram,
                postgres_settings: [("shared_buffers", "1GB"), ("work_mem", "8MB"), ("fsync", "on")]
                    .map(|(key, value)| (key.into(), value.into()))
                    .into(),
                ..defaults()
            }
        );
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let bad = file("lanes_maximum = 10\n");
        let error = load(&defaults(), Some(bad.path()), "ATOLL_", [], &[]).unwrap_err().to_string();
        assert!(error.ends_with("unknown key \"lanes_maximum\"; did you mean \"lanes_max\"?"), "{error}");
        let error = load(&defaults(), None, "ATOLL_", [], &pairs(&[("lissen", "x")])).unwrap_err().to_string();
        assert_eq!(error, "flag: unknown key \"lissen\"; did you mean \"listen\"?");
        let error = load(&defaults(), None, "ATOLL_", pairs(&[("ATOLL_LISTN", "x")]), &[]).unwrap_err().to_string();
        assert!(error.contains("ATOLL_LISTN") && error.contains("\"listen\""), "{error}");
    }

    #[test]
    fn wrong_types_and_broken_files_are_refused() {
        assert!(load(&defaults(), None, "ATOLL_", [], &pairs(&[("lanes_max", "many")])).is_err());
        assert!(load(&defaults(), None, "ATOLL_", [], &pairs(&[("mode", "maybe")])).is_err());
        let broken = file("name = \n");
        assert!(matches!(
            load(&defaults(), Some(broken.path()), "ATOLL_", [], &[]),
            Err(SettingsError::NotToml { .. })
        ));
    }

    #[test]
    fn what_is_printed_can_be_loaded() {
        let printed = print(&defaults()).unwrap();
        let file = file(&printed);
        assert_eq!(load(&defaults(), Some(file.path()), "ATOLL_", [], &[]).unwrap(), defaults());
        let empty = Sample { postgres_settings: BTreeMap::new(), ..defaults() };
        assert_eq!(load(&empty, None, "ATOLL_", [], &[]).unwrap(), empty);
    }
}
