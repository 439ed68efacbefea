//! Running a script on two servers at once.

use std::collections::HashMap;

use anyhow::{Result, bail};

use crate::Target;
use crate::client::{Client, Parameter};
use crate::compare::{Rules, differences};
use crate::outcome::Outcome;
use crate::script::{Action, CopyData, Repeat, Step};

/// A script is given up after this many lost connections.
const LOST_MAX: usize = 5;

/// Which servers a script runs on, and how statements that run only once travel.
#[derive(Debug, Clone)]
pub struct Setting<'a> {
    pub plain: &'a Target,
    pub subject: &'a Target,
    /// Whether the subject is a cluster; otherwise what is for clusters only is skipped.
    pub is_cluster: bool,
    /// Run statements that change something by the extended protocol.
    pub changes_by_extended: bool,
}

/// Both servers' sessions of one name.
#[derive(Debug)]
struct Sessions {
    plain: Client,
    subject: Client,
}

/// Runs all steps and returns the differences found: one text per statement and way, with the line.
///
/// # Errors
/// When a server cannot be reached, or plain PostgreSQL loses its connection.
pub fn run(steps: &[Step], setting: &Setting<'_>) -> Result<Vec<String>> {
    let mut sessions: HashMap<String, Sessions> = HashMap::new();
    let mut found = Vec::new();
    let mut lost = 0;
    for step in steps {
        if !sessions.contains_key(&step.session) {
            sessions.insert(step.session.clone(), open(setting)?);
        }
        let Some(pair) = sessions.get_mut(&step.session) else { bail!("session {} vanished", step.session) };
        let mut report = |way: &str, lines: &str| {
            found.push(format!("line {} ({way}): {}\n    {}", step.line, step.sql, lines.replace('\n', "\n    ")));
        };
        match run_step(step, setting, pair, &mut report) {
            Ok(()) => {}
            Err(StepError::Subject(error)) => {
                report("connection", &format!("{error:#}"));
                lost += 1;
                if lost >= LOST_MAX {
                    found.push("given up: too many lost connections".to_owned());
                    return Ok(found);
                }
                sessions.insert(step.session.clone(), open(setting)?);
            }
            Err(StepError::Plain(error)) => {
                return Err(error.context(format!("plain PostgreSQL at line {}: {}", step.line, step.sql)));
            }
        }
    }
    Ok(found)
}

fn open(setting: &Setting<'_>) -> Result<Sessions> {
    Ok(Sessions { plain: Client::connect(setting.plain, "app")?, subject: Client::connect(setting.subject, "app")? })
}

enum StepError {
    Plain(anyhow::Error),
    Subject(anyhow::Error),
}

/// One way to run a statement.
#[derive(Debug, Clone)]
enum Way {
    Simple,
    Extended { parameters: Vec<Parameter>, binary: bool },
}

impl Way {
    fn name(&self) -> String {
        match self {
            Way::Simple => "simple".to_owned(),
            Way::Extended { parameters, binary } => {
                let format = if *binary { "binary" } else { "text" };
                if parameters.is_empty() {
                    return format!("extended {format}");
                }
                let shown: Vec<String> = parameters
                    .iter()
                    .map(|one| one.value.as_ref().map_or("NULL".to_owned(), |value| value.escape_ascii().to_string()))
                    .collect();
                format!("extended {format} with {}", shown.join(", "))
            }
        }
    }

    fn run(&self, client: &mut Client, sql: &str, data: Option<&[u8]>) -> Result<Outcome> {
        match self {
            Way::Simple => client.simple_with_copy(sql, data),
            Way::Extended { parameters, binary } => client.extended(sql, parameters, *binary, data),
        }
    }
}

fn run_step(
    step: &Step,
    setting: &Setting<'_>,
    pair: &mut Sessions,
    report: &mut impl FnMut(&str, &str),
) -> Result<(), StepError> {
    match &step.action {
        Action::ClusterOnly { fails_with } => {
            if !setting.is_cluster {
                return Ok(());
            }
            let outcome = pair.subject.simple(&step.sql).map_err(StepError::Subject)?;
            let got = outcome.error.as_ref().map(|error| error.sqlstate().to_owned());
            if &got != fails_with {
                let shown = outcome.error.map_or("success".to_owned(), |error| error.to_string());
                let expected = fails_with.as_deref().unwrap_or("success");
                report("cluster only", &format!("expected {expected}\n       got {shown}"));
            }
            Ok(())
        }
        Action::Compare { repeat, ordered, any_values, words_differ, may_refuse, parameters, copy } => {
            let data = match copy {
                CopyData::None => None,
                CopyData::Inline(data) => Some(data.clone()),
                CopyData::FromPlain(sql) => {
                    let outcome = pair.plain.simple(sql).map_err(StepError::Plain)?;
                    let chunks =
                        outcome.results.into_iter().next().and_then(|result| result.copied).unwrap_or_default();
                    Some(chunks.concat())
                }
            };
            let rules = Rules {
                ordered: *ordered,
                any_values: *any_values,
                words_differ: *words_differ,
                may_refuse: *may_refuse,
            };
            for way in ways(*repeat, parameters, setting).map_err(StepError::Plain)? {
                let plain = way.run(&mut pair.plain, &step.sql, data.as_deref()).map_err(StepError::Plain)?;
                let subject = way.run(&mut pair.subject, &step.sql, data.as_deref()).map_err(StepError::Subject)?;
                let lines = differences(&plain, &subject, rules);
                if !lines.is_empty() {
                    report(&way.name(), &lines.join("\n"));
                }
            }
            Ok(())
        }
    }
}

fn ways(repeat: Repeat, parameters: &[Vec<crate::script::TypedParameter>], setting: &Setting<'_>) -> Result<Vec<Way>> {
    let formats: &[bool] = match repeat {
        Repeat::EveryWay => &[false, true],
        Repeat::Once if !parameters.is_empty() || setting.changes_by_extended => &[false],
        Repeat::Once | Repeat::SimpleOnly => &[],
    };
    let mut ways = Vec::new();
    if parameters.is_empty() && (repeat == Repeat::EveryWay || formats.is_empty()) {
        ways.push(Way::Simple);
    }
    let sets = if parameters.is_empty() { &[Vec::new()] } else { parameters };
    for set in sets {
        for binary in formats {
            let parameters = set.iter().map(|one| one.encode(*binary)).collect::<Result<Vec<Parameter>>>()?;
            ways.push(Way::Extended { parameters, binary: *binary });
        }
    }
    Ok(ways)
}
