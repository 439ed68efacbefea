//! What became of a transaction whose COMMIT was not answered: `atoll.transaction_status(id)`.
//!
//! A transaction over several groups has its decision row. One on a single group is known by the number that its primary gave it, which is
//! only worth something together with where the log stood right before the COMMIT: what came after that point may be lost with a
//! server, and the number given to another transaction then.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use atoll_planner::quote_literal;

use super::keeper::Keeper;
use super::leaders::{Asker, Leader};
use super::recovery::list;
use super::rows::Rows;
use crate::error::{Error, Result, sqlstate};
use crate::lane::{Lane, ResultSet};
use crate::place::Place;

/// How long a group may be without a primary before the question fails.
const LEADER_WITHIN: Duration = Duration::from_secs(30);

/// A transaction on one group.
#[derive(Clone, Debug, PartialEq)]
pub struct TransactionId {
    group: String,
    timeline: u32,
    xid: u64,
    /// Where the log stood right before COMMIT.
    lsn: u64,
    /// When the transaction began, by the server's clock: Unix time in seconds.
    began: f64,
}

/// `16/B374D848`
pub fn parse_lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    Some((u64::from_str_radix(high, 16).ok()? << 32) | u64::from_str_radix(low, 16).ok()?)
}

impl TransactionId {
    /// From a server's answer: number (NULL: it has written nothing), name of the current file of the log, position in the log, and the
    /// transaction's start.
    pub fn read(group: &str, set: &ResultSet) -> Option<Self> {
        let row = Rows::new(set).next()?;
        Some(Self {
            group: group.to_owned(),
            timeline: u32::from_str_radix(row.maybe(1)?.get(..8)?, 16).ok()?,
            xid: row.maybe(0)?.parse().ok()?,
            lsn: parse_lsn(row.maybe(2)?)?,
            began: row.maybe(3)?.parse().ok()?,
        })
    }

    /// As it is printed.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(5, ':');
        let began: u64 = parts.next()?.parse().ok()?;
        let lsn = u64::from_str_radix(parts.next()?, 16).ok()?;
        let xid = parts.next()?.parse().ok()?;
        let timeline = parts.next()?.parse().ok()?;
        Some(Self { group: parts.next()?.to_owned(), timeline, xid, lsn, began: began as f64 / 1e6 })
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, timeline, xid, lsn, began } = self;
        write!(f, "{group}:{timeline}:{xid}:{lsn:X}:{}", (began * 1e6) as u64)
    }
}

/// What is known of a transaction's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    Aborted,
    InProgress,
    /// Nothing is known (any more).
    Unknown,
}

impl Outcome {
    /// As PostgreSQL's `pg_xact_status` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Aborted => "aborted",
            Self::InProgress => "in progress",
            Self::Unknown => "unknown",
        }
    }

    fn named(name: Option<&str>) -> Self {
        match name {
            Some("committed") => Self::Committed,
            Some("aborted") => Self::Aborted,
            Some("in progress") => Self::InProgress,
            _ => Self::Unknown,
        }
    }
}

/// When a primary's PostgreSQL began to run, and where its log ended then: what a coordinator notes before it lets clients through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beginning {
    /// By the server's clock: Unix time in seconds.
    pub at: f64,
    pub timeline: u32,
    /// `None` when it could not be told any more.
    pub log_end: Option<u64>,
}

/// What a primary can say about a transaction.
#[derive(Clone, Debug, Default)]
struct Evidence {
    /// What `pg_xact_status` says of the number.
    status: Option<String>,
    timeline: u32,
    /// When its PostgreSQL began to run.
    running_since: f64,
    /// Where each earlier timeline was left for the next.
    switches: Vec<(u32, u64)>,
    /// As this coordinator noted them.
    beginnings: Vec<Beginning>,
}

/// Concludes from the evidence. The number is the transaction's own as long as the log up to its COMMIT has never been lost.
fn judge(id: &TransactionId, evidence: &Evidence) -> Outcome {
    let stated = Outcome::named(evidence.status.as_deref());
    if evidence.timeline != id.timeline {
        match evidence.switches.iter().find(|(timeline, _)| *timeline == id.timeline) {
            // Its whole timeline has been given up, or what came after the start of the COMMIT.
            None => return Outcome::Aborted,
            Some((_, switch)) if *switch <= id.lsn => return Outcome::Aborted,
            Some(_) => {}
        }
    } else if evidence.running_since <= id.began {
        return stated;
    }
    // Whether its server began anew on the same timeline in between, and lost the end of its log. Only who saw all beginnings knows.
    let seen_from = evidence.beginnings.iter().map(|beginning| beginning.at).fold(f64::INFINITY, f64::min);
    let mut later =
        evidence.beginnings.iter().filter(|beginning| beginning.timeline == id.timeline && beginning.at > id.began);
    let kept = match (seen_from <= id.began, later.next(), later.next()) {
        (true, None, _) => evidence.timeline != id.timeline,
        (true, Some(only), None) => match only.log_end {
            Some(end) if end < id.lsn => return Outcome::Aborted,
            Some(_) => true,
            None => false,
        },
        _ => false,
    };
    match stated {
        // After a restart nothing goes on that began before: the number is another's by now.
        Outcome::InProgress => Outcome::Aborted,
        Outcome::Committed if !kept => Outcome::Unknown,
        stated => stated,
    }
}

/// Reads when a primary's PostgreSQL began, for [`Beginning`]; best right after it did, before anything is written.
///
/// # Errors
/// What PostgreSQL says; the lane's.
pub(super) async fn beginning(lane: &mut Lane) -> Result<Beginning> {
    // A checkpoint at the very end of the log as it was: the one that a start writes.
    let sql = "SELECT date_part('epoch', backend_start), timeline_id, \
            CASE WHEN redo_lsn = checkpoint_lsn THEN redo_lsn END \
        FROM pg_stat_activity, pg_control_checkpoint() WHERE backend_type = 'checkpointer'";
    let sets = lane.query(sql).await?;
    let row =
        sets.first().map(Rows::new).ok_or_else(|| Error::internal("a primary does not say when it began"))?.only()?;
    Ok(Beginning { at: row.parse(0)?, timeline: row.parse(1)?, log_end: row.maybe(2).and_then(parse_lsn) })
}

async fn evidence(keeper: &Keeper, leader: &Leader, id: &TransactionId) -> Result<Evidence> {
    let mut lane = keeper.control.open(leader, "postgres").await?;
    let sql = "SELECT pg_walfile_name(pg_current_wal_insert_lsn()), date_part('epoch', backend_start) \
        FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
    let sets = lane.query(sql).await?;
    let row =
        sets.first().map(Rows::new).ok_or_else(|| Error::internal("a primary does not say when it began"))?.only()?;
    let timeline = row.text(0)?.get(..8).and_then(|text| u32::from_str_radix(text, 16).ok());
    let mut evidence = Evidence {
        timeline: timeline.ok_or_else(|| Error::internal("a primary does not say its timeline"))?,
        running_since: row.parse(1)?,
        beginnings: keeper.leaders().beginnings(&leader.group),
        ..Evidence::default()
    };
    if evidence.timeline != id.timeline {
        let sql = format!("SELECT pg_read_file('pg_wal/{:08X}.history', 0, 1000000, true)", evidence.timeline);
        let sets = lane.query(&sql).await?;
        let text = sets.iter().flat_map(Rows::new).next().and_then(|row| row.maybe(0));
        evidence.switches = text.map(switches).unwrap_or_default();
    }
    evidence.status = match lane.query(&format!("SELECT pg_xact_status('{}')", id.xid)).await {
        Ok(sets) => sets.iter().flat_map(Rows::new).next().and_then(|row| row.maybe(0).map(str::to_owned)),
        // A number that has not been given yet, after what had been given was lost.
        Err(error) if error.sqlstate() == sqlstate::INVALID_PARAMETER_VALUE => Some("aborted".to_owned()),
        Err(error) => return Err(error),
    };
    Ok(evidence)
}

/// A timeline's history file: earlier timelines, and where each was left.
fn switches(text: &str) -> Vec<(u32, u64)> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        Some((words.next()?.parse().ok()?, parse_lsn(words.next()?)?))
    };
    text.lines().filter_map(line).collect()
}

/// The outcome of a transaction: an id of this module, or the name of a transaction over several groups in the logical `database`.
///
/// # Errors
/// 22023 for what is no such id; 57P03 when the group that knows has no primary for long.
pub async fn status(keeper: &Keeper, database: &str, id: &str) -> Result<Outcome> {
    if id.starts_with("atoll:") && id.split(':').count() == 4 {
        return decided(keeper, database, id).await;
    }
    let malformed = || {
        let message = format!("\"{id}\" is not the id of a transaction");
        Error::sql(sqlstate::INVALID_PARAMETER_VALUE, message)
            .with_hint("Ids are in the DETAIL of errors with SQLSTATE 08007.")
    };
    let parsed = TransactionId::parse(id).ok_or_else(malformed)?;
    if !keeper.directory().groups.iter().any(|group| group.name == parsed.group) {
        return Err(malformed());
    }
    let leader: Arc<Leader> = keeper.leaders().wait(&parsed.group, Asker::Clients, LEADER_WITHIN).await?;
    Ok(judge(&parsed, &evidence(keeper, &leader, &parsed).await?))
}

/// The outcome of a transaction over several groups.
async fn decided(keeper: &Keeper, database: &str, gid: &str) -> Result<Outcome> {
    let home = keeper.leaders().wait(keeper.home_group(), Asker::Clients, LEADER_WITHIN).await?;
    let mut lane = keeper.control.open(&home, &Place::HOME.database(database)).await?;
    let sql = format!("SELECT decision FROM atoll.commits WHERE gid = {}", quote_literal(gid));
    let sets = lane.query(&sql).await?;
    match sets.iter().flat_map(Rows::new).next().and_then(|row| row.maybe(0)) {
        Some("commit") => return Ok(Outcome::Committed),
        Some(_) => return Ok(Outcome::Aborted),
        None => {}
    }
    for group in keeper.directory().groups.iter().filter(|group| !group.nodes.is_empty()) {
        let mut lane = keeper.control.open_group(group, "postgres").await?;
        if list(&mut lane).await?.iter().any(|prepared| prepared.gid() == gid) {
            return Ok(Outcome::InProgress);
        }
    }
    Ok(Outcome::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> TransactionId {
        TransactionId { group: "g:1".to_owned(), timeline: 3, xid: 1234, lsn: 0x16_B374_D848, began: 1000.25 }
    }

    #[test]
    fn ids_survive_being_printed() {
        assert_eq!(id().to_string(), "g:1:3:1234:16B374D848:1000250000");
        assert_eq!(TransactionId::parse(&id().to_string()), Some(id()));
        for wrong in ["", "1234", "g1:3:1234:XYZ:1", "3:1234:16:1"] {
            assert_eq!(TransactionId::parse(wrong), None, "{wrong}");
        }
        let row = ["1234", "000000030000001600000B37", "16/B374D848", "1000.25"].map(|text| Some(text.to_owned()));
        let set = ResultSet { rows: vec![row.to_vec()], ..ResultSet::default() };
        assert_eq!(TransactionId::read("g:1", &set), Some(id()));
        let nothing = ResultSet { rows: vec![vec![None, row[1].clone(), row[2].clone(), row[3].clone()]], ..set };
        assert_eq!(TransactionId::read("g:1", &nothing), None);
    }

    #[test]
    fn a_number_says_something_only_while_it_is_the_transaction_s_own() {
        let lsn = id().lsn;
        let evidence = |status: &str, timeline, running_since| Evidence {
            status: Some(status.to_owned()),
            timeline,
            running_since,
            ..Evidence::default()
        };
        // The same server run.
        assert_eq!(judge(&id(), &evidence("committed", 3, 900.0)), Outcome::Committed);
        assert_eq!(judge(&id(), &evidence("in progress", 3, 900.0)), Outcome::InProgress);
        // It began anew since: an abort is one in any case, a commit may be another's.
        assert_eq!(judge(&id(), &evidence("aborted", 3, 1100.0)), Outcome::Aborted);
        assert_eq!(judge(&id(), &evidence("in progress", 3, 1100.0)), Outcome::Aborted);
        assert_eq!(judge(&id(), &evidence("committed", 3, 1100.0)), Outcome::Unknown);
        let seen = |log_end: &[Option<u64>]| {
            let began = [Beginning { at: 900.0, timeline: 3, log_end: None }];
            let later = log_end.iter().enumerate();
            let later = later.map(|(n, end)| Beginning { at: 1100.0 + n as f64, timeline: 3, log_end: *end });
            began.into_iter().chain(later).collect::<Vec<_>>()
        };
        for (ends, expected) in [
            (&[Some(lsn)][..], Outcome::Committed),
            (&[Some(lsn - 1)], Outcome::Aborted),
            (&[None], Outcome::Unknown),
            (&[Some(lsn), Some(lsn)], Outcome::Unknown),
        ] {
            let evidence = Evidence { beginnings: seen(ends), ..evidence("committed", 3, 1100.0) };
            assert_eq!(judge(&id(), &evidence), expected, "{ends:?}");
        }
        // Another primary took over.
        let after = |switch: u64, beginnings: Vec<Beginning>| {
            let switches = vec![(1, 5), (3, switch), (4, lsn * 2)];
            judge(&id(), &Evidence { switches, beginnings, ..evidence("committed", 5, 1100.0) })
        };
        assert_eq!(after(lsn, seen(&[])), Outcome::Aborted);
        assert_eq!(after(lsn + 100, seen(&[])), Outcome::Committed);
        assert_eq!(after(lsn + 100, Vec::new()), Outcome::Unknown);
        let given_up = Evidence { switches: vec![(1, 5), (2, 6)], ..evidence("committed", 5, 1100.0) };
        assert_eq!(judge(&id(), &given_up), Outcome::Aborted);
    }

    #[test]
    fn history_files_are_read() {
        let text = "1\t0/3000060\tno recovery target specified\n\n2\t16/B374D848\tno recovery target specified\n";
        assert_eq!(switches(text), [(1, 0x300_0060), (2, 0x16_B374_D848)]);
    }
}
