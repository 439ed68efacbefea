//! Finishing distributed transactions that a coordinator left behind.
//!
//! A participant other than home's data database is prepared as `<gid>:<n>`; the decision is the row of `<gid>` in home's data database.
//! A prepared transaction that is some seconds old and not alive in this process is looked up there: a row that says commit commits it, one
//! that says abort rolls it back, and none becomes a row that says abort — with the same primary key, so that a coordinator
//! that is merely slow either has written its own before, or fails to.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use atoll_planner::directory::{Directory, Group};
use atoll_planner::quote_literal;
use futures_util::future::join_all;

use super::control::Control;
use super::keeper::{DIRECTORY_DATABASE, Keeper};
use super::rows::Rows;
use super::store;
use crate::error::{Error, Result, sqlstate};
use crate::lane::Lane;
use crate::place::Place;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(3);
/// A younger prepared transaction is left to its own coordinator. In seconds.
const AGE_MIN: u32 = 5;
/// How long one group may take to list or to finish.
const GROUP_WITHIN: Duration = Duration::from_secs(10);
/// How long it is waited after a failed attempt to bring a transaction of this process to its end.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How many looks pass between two cleanings.
const CLEAN_EVERY: u32 = 100;

/// The distributed transactions that this process is deciding now, by gid.
#[derive(Default)]
pub struct LiveTransactions {
    shards: [Mutex<HashSet<String>>; 16],
}

/// Keeps a transaction alive in the list.
pub struct LiveGuard {
    live: Arc<LiveTransactions>,
    gid: String,
}

impl LiveTransactions {
    fn shard(&self, gid: &str) -> MutexGuard<'_, HashSet<String>> {
        let sum = gid.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        self.shards[sum % self.shards.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a transaction; to be held from before its first PREPARE until after its last COMMIT PREPARED.
    pub fn begin(self: &Arc<Self>, gid: &str) -> LiveGuard {
        self.shard(gid).insert(gid.to_owned());
        LiveGuard { live: self.clone(), gid: gid.to_owned() }
    }

    pub fn contains(&self, gid: &str) -> bool {
        self.shard(gid).contains(gid)
    }
}

impl Drop for LiveGuard {
    fn drop(&mut self) {
        self.live.shard(&self.gid).remove(&self.gid);
    }
}

/// One prepared transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    /// As PREPARE TRANSACTION named it.
    pub name: String,
    pub database: String,
    is_old: bool,
}

impl Prepared {
    /// The distributed transaction's gid: the name without the participant's number.
    pub fn gid(&self) -> &str {
        self.name.rsplit_once(':').map_or(&self.name, |(gid, _)| gid)
    }
}

/// The logical database of a group's database; `None` for the directory.
pub(super) fn logical(database: &str) -> Option<&str> {
    (database != DIRECTORY_DATABASE).then(|| database.strip_suffix("_data").unwrap_or(database))
}

/// Looks every few seconds, and as soon as a node is back, until `keeper` is gone. Must be called on the control runtime.
pub fn start(keeper: &Arc<Keeper>, live: Arc<LiveTransactions>) {
    tokio::spawn(watch(Arc::downgrade(keeper), live));
}

async fn watch(keeper: Weak<Keeper>, live: Arc<LiveTransactions>) {
    let mut looks = 0_u32;
    let mut failing = false;
    loop {
        let Some(keeper) = keeper.upgrade() else { return };
        if keeper.is_ready() {
            match recover(&keeper, &live).await {
                Ok(_) => failing = false,
                Err(error) if !std::mem::replace(&mut failing, true) => {
                    tracing::warn!(%error, "distributed transactions left behind cannot be finished now; trying again");
                }
                Err(error) => tracing::debug!(%error, "distributed transactions left behind still cannot be finished"),
            }
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(CLEAN_EVERY)
                && let Err(error) = clean(&keeper).await
            {
                tracing::debug!(%error, "old decisions are not removed now");
            }
        }
        drop(keeper);
        tokio::time::sleep(EVERY).await;
    }
}

async fn within<T>(group: &Group, work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(GROUP_WITHIN, work).await {
        Ok(done) => done,
        Err(_) => Err(Error::unreachable(group.name.clone(), format!("no answer within {} s", GROUP_WITHIN.as_secs()))),
    }
}

async fn list_of(control: &Control, group: &Group) -> Result<Vec<Prepared>> {
    list(&mut control.open_group(group, "postgres").await?).await
}

/// The distributed transactions that are prepared on a server.
pub(super) async fn list(lane: &mut Lane) -> Result<Vec<Prepared>> {
    let sql = format!(
        "SELECT gid, database, prepared < now() - interval '{AGE_MIN} seconds' FROM pg_prepared_xacts WHERE gid LIKE 'atoll:%'"
    );
    let results = lane.query(&sql).await?;
    let rows = results.iter().flat_map(Rows::new);
    rows.map(|row| {
        Ok(Prepared { name: row.text(0)?.to_owned(), database: row.text(1)?.to_owned(), is_old: row.is_true(2) })
    })
    .collect()
}

/// Finishes what is old enough and nobody's here. Returns how many prepared transactions were finished.
///
/// # Errors
/// 57P03 when home or a group with such a transaction cannot be reached; others are finished nevertheless.
pub async fn recover(keeper: &Keeper, live: &LiveTransactions) -> Result<usize> {
    let directory = keeper.directory();
    let control = &keeper.control;
    let groups: Vec<&Group> = directory.groups.iter().filter(|group| !group.nodes.is_empty()).collect();
    let lists = join_all(groups.iter().map(|group| within(group, list_of(control, group)))).await;
    let mut failure = None;
    let mut found: Vec<(&Group, Prepared)> = Vec::new();
    for (group, listed) in groups.into_iter().zip(lists) {
        match listed {
            Ok(listed) => found.extend(listed.into_iter().map(|prepared| (group, prepared))),
            Err(error) => drop(failure.get_or_insert(error)),
        }
    }
    // The directory's own part does not say which logical database it belongs to; its siblings do.
    let mut owners: HashMap<String, String> = HashMap::new();
    for (_, prepared) in &found {
        if let Some(name) = logical(&prepared.database) {
            owners.insert(prepared.gid().to_owned(), name.to_owned());
        }
    }
    let mut decisions: HashMap<String, bool> = HashMap::new();
    let mut finished = 0;
    for (group, prepared) in found.iter().filter(|(_, prepared)| prepared.is_old && !live.contains(prepared.gid())) {
        let gid = prepared.gid();
        let commit = match decisions.get(gid) {
            Some(&commit) => commit,
            None => {
                let owner = owners.get(gid).map(String::as_str);
                let commit = within(group, decide(control, &directory, owner, gid)).await?;
                decisions.insert(gid.to_owned(), commit);
                commit
            }
        };
        let finishing = finish(control, group, &prepared.database, &prepared.name, commit);
        match within(group, finishing).await {
            Ok(()) => {
                finished += 1;
                let outcome = if commit { "committed" } else { "rolled back" };
                tracing::info!(
                    gid,
                    group = group.name,
                    database = prepared.database,
                    outcome,
                    "finished what was left behind"
                );
            }
            Err(error) => drop(failure.get_or_insert(error)),
        }
    }
    failure.map_or(Ok(finished), Err)
}

/// Whether a distributed transaction commits; from now on that stands. A decision found is written again, so that it has been made durable by
/// this very commit before anything follows from it.
async fn decide(control: &Control, directory: &Directory, owner: Option<&str>, gid: &str) -> Result<bool> {
    let home = directory.groups.first().ok_or_else(|| Error::internal("the directory has no group"))?;
    // Without siblings any of them may hold the decision; once all hold an abort, none can get a commit.
    let candidates: Vec<&str> = match owner {
        Some(owner) => vec![owner],
        None => directory.databases.keys().map(String::as_str).collect(),
    };
    let sql = format!(
        "SET lock_timeout = '5s'; INSERT INTO atoll.commits (gid, decision, participants) VALUES ({}, 'abort', '{{}}') \
         ON CONFLICT (gid) DO UPDATE SET decision = commits.decision RETURNING decision",
        quote_literal(gid)
    );
    let mut commit = false;
    for database in candidates {
        let mut lane = control.open_group(home, &Place::HOME.database(database)).await?;
        let results = lane.query(&sql).await?;
        commit |= results.last().map(|set| set.scalar()).transpose()? == Some("commit");
    }
    Ok(commit)
}

/// A prepared part of a distributed transaction.
pub struct Part {
    pub group: Group,
    /// The server's, not the logical one.
    pub database: String,
    /// As PREPARE TRANSACTION named it.
    pub name: String,
}

/// Brings a distributed transaction of this process to its end, on whatever primaries its groups have by now: decides it, unless it is `decided`
/// to commit, and finishes its parts. Yields whether it commits; parts that could not be reached in time are left to their groups' next
/// primaries, which finish them before they serve clients.
///
/// # Errors
/// 57P03 when it could not be decided `within` this time.
pub async fn conclude(
    keeper: &Keeper,
    database: &str,
    gid: &str,
    decided: bool,
    parts: Vec<Part>,
    within: Duration,
) -> Result<bool> {
    let deadline = Instant::now() + within;
    let directory = keeper.directory();
    let commit = loop {
        if decided {
            break true;
        }
        match decide(&keeper.control, &directory, Some(database), gid).await {
            Ok(decision) => break decision,
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(error) => tracing::debug!(%error, gid, "home does not say yet whether a transaction commits"),
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    };
    join_all(parts.iter().map(async |part| {
        while let Err(error) = finish(&keeper.control, &part.group, &part.database, &part.name, commit).await {
            if Instant::now() >= deadline {
                tracing::warn!(%error, part.name, "a decided transaction is left to be finished by its group's next primary");
                return;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }))
    .await;
    Ok(commit)
}

async fn finish(control: &Control, group: &Group, database: &str, name: &str, commit: bool) -> Result<()> {
    let mut lane = control.open_group(group, database).await?;
    let verb = if commit { "COMMIT" } else { "ROLLBACK" };
    match lane.query(&format!("{verb} PREPARED {}", quote_literal(name))).await {
        // Another coordinator was faster.
        Err(error) if error.sqlstate() == sqlstate::UNDEFINED_OBJECT => Ok(()),
        done => done.map(drop),
    }
}

/// Removes decisions that nothing can ask for any more, and merges the directory's counted changes. An abort is kept for a day: it must
/// outlive the coordinator that it was written against.
async fn clean(keeper: &Keeper) -> Result<()> {
    let directory = keeper.directory();
    let control = &keeper.control;
    let Some(home) = directory.groups.first() else { return Ok(()) };
    // Only when every group could be asked is it known what is still prepared.
    let mut prepared = BTreeSet::new();
    for group in directory.groups.iter().filter(|group| !group.nodes.is_empty()) {
        prepared.extend(within(group, list_of(control, group)).await?.iter().map(|prepared| prepared.gid().to_owned()));
    }
    let kept: Vec<String> = prepared.iter().map(|gid| quote_literal(gid)).collect();
    let kept = if kept.is_empty() { String::new() } else { format!(" AND gid NOT IN ({})", kept.join(", ")) };
    let sql = format!(
        "DELETE FROM atoll.commits WHERE decided_at < now() - \
         CASE decision WHEN 'abort' THEN interval '1 day' ELSE interval '10 minutes' END{kept}"
    );
    for name in directory.databases.keys() {
        let mut lane = control.open_group(home, &Place::HOME.database(name)).await?;
        within(home, lane.query(&sql)).await?;
    }
    let mut lane = control.open_group(home, DIRECTORY_DATABASE).await?;
    within(home, lane.query(&store::compact_changes())).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_transaction_and_the_database() {
        let prepared = Prepared { name: "atoll:c1:run:17:2".into(), database: "app_data".into(), is_old: true };
        assert_eq!(prepared.gid(), "atoll:c1:run:17");
        assert_eq!([logical("app_data"), logical("app"), logical("atoll")], [Some("app"), Some("app"), None]);
    }

    #[test]
    fn live_transactions_end_with_their_guard() {
        let live = Arc::new(LiveTransactions::default());
        let guard = live.begin("atoll:c1:run:1");
        assert!(live.contains("atoll:c1:run:1") && !live.contains("atoll:c1:run:2"));
        drop(guard);
        assert!(!live.contains("atoll:c1:run:1"));
    }
}
