//! What has to be done on a primary that has just begun to serve before clients' statements go there: the distributed transactions that are
//! decided are finished. A client may have been told of their commit while this group had no primary; it must not miss them now.
//!
//! Those that are not decided stay as they are, prepared and invisible, for their coordinators or for recovery.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use atoll_planner::directory::Directory;
use atoll_planner::quote_literal;

use super::keeper::Keeper;
use super::leaders::{Asker, Leader};
use super::outcome::{self, Beginning};
use super::recovery::{Prepared, list, logical};
use super::rows::Rows;
use crate::error::{Error, Result, sqlstate};
use crate::place::Place;

/// How long it is waited after a failed attempt.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// How long one attempt may take.
const WITHIN: Duration = Duration::from_secs(20);

/// Admits clients to primaries as they begin to serve, until `keeper` is gone. Must be called on the control runtime.
pub(super) async fn run(keeper: Weak<Keeper>) {
    let Some(mut changes) = keeper.upgrade().map(|keeper| keeper.leaders().changes()) else { return };
    let mut begun = HashSet::new();
    loop {
        let Some(kept) = keeper.upgrade() else { return };
        let waiting = kept.leaders().waiting();
        begun.retain(|term| waiting.iter().any(|leader| leader.term == *term));
        for leader in waiting {
            if begun.insert(leader.term) {
                tokio::spawn(admit(keeper.clone(), leader));
            }
        }
        drop(kept);
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn admit(keeper: Weak<Keeper>, leader: Arc<Leader>) {
    let mut told = false;
    loop {
        let Some(keeper) = keeper.upgrade() else { return };
        let serves = keeper.leaders().get(&leader.group, Asker::Control);
        if serves.is_none_or(|serving| serving.term != leader.term) {
            return;
        }
        let attempt = tokio::time::timeout(WITHIN, finish_decided(&keeper, &leader)).await;
        let attempt =
            attempt.unwrap_or_else(|_| Err(Error::internal(format!("not done within {} s", WITHIN.as_secs()))));
        match attempt {
            Ok(beginning) => return keeper.leaders().admit(&leader, beginning),
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(
                        group = &*leader.group,
                        node = leader.node.name,
                        %error,
                        "no statements are let through yet: distributed transactions decided before could not be finished"
                    );
                }
            }
        }
        drop(keeper);
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Finishes what is decided of the distributed transactions that are prepared on a primary; yields when that one began to run.
///
/// # Errors
/// 57P03 when it or home cannot be reached; 55000 while somebody else finishes one.
async fn finish_decided(keeper: &Keeper, leader: &Leader) -> Result<Beginning> {
    let mut lane = keeper.control.open(leader, "postgres").await?;
    let beginning = outcome::beginning(&mut lane).await?;
    let prepared = list(&mut lane).await?;
    if prepared.is_empty() {
        return Ok(beginning);
    }
    let decisions = decisions(keeper, &prepared).await?;
    let mut by_database: BTreeMap<&str, Vec<(&Prepared, bool)>> = BTreeMap::new();
    for one in &prepared {
        if let Some(commit) = decisions.get(one.gid()) {
            by_database.entry(&one.database).or_default().push((one, *commit));
        }
    }
    for (database, decided) in by_database {
        let mut lane = keeper.control.open(leader, database).await?;
        for (one, commit) in decided {
            let verb = if commit { "COMMIT" } else { "ROLLBACK" };
            match lane.query(&format!("{verb} PREPARED {}", quote_literal(&one.name))).await {
                Err(error) if error.sqlstate() == sqlstate::UNDEFINED_OBJECT => {}
                finished => drop(finished?),
            }
            tracing::info!(
                gid = one.gid(),
                group = &*leader.group,
                database,
                verb,
                "finished before clients are admitted"
            );
        }
    }
    Ok(beginning)
}

/// The decisions on prepared transactions, as far as there are any (true: commit). Each is written once more, so that it is durable by this
/// commit before anything follows from it.
async fn decisions(keeper: &Keeper, prepared: &[Prepared]) -> Result<HashMap<String, bool>> {
    let gids: BTreeSet<String> = prepared.iter().map(|one| quote_literal(one.gid())).collect();
    let mut databases: BTreeSet<&str> = prepared.iter().filter_map(|one| logical(&one.database)).collect();
    let directory: Arc<Directory>;
    if prepared.iter().any(|one| logical(&one.database).is_none()) {
        // The directory's own part does not say which logical database it belongs to.
        keeper.ready(WITHIN).await?;
        directory = keeper.directory();
        databases.extend(directory.databases.keys().map(String::as_str));
    }
    let gids: Vec<String> = gids.into_iter().collect();
    let sql = format!(
        "UPDATE atoll.commits SET decision = decision WHERE gid IN ({}) RETURNING gid, decision",
        gids.join(", ")
    );
    let home = keeper.leaders().wait(keeper.home_group(), Asker::Control, WITHIN).await?;
    let mut found = HashMap::new();
    for database in databases {
        let mut lane = keeper.control.open(&home, &Place::HOME.database(database)).await?;
        for row in lane.query(&sql).await?.iter().flat_map(Rows::new) {
            found.insert(row.text(0)?.to_owned(), row.text(1)? == "commit");
        }
    }
    Ok(found)
}
