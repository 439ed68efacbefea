//! Reads that replicas may answer: what the session's settings ask for, and how it gets hold of a replica's backend.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use atoll_planner::directory::{Directory, GroupIndex};
use atoll_planner::plan::{Plan, Session as SessionPlan};

use super::Session;
use super::lanes::settle;
use super::settings::Settings;
use super::transaction::Participant;
use crate::config::Config;
use crate::directory::outcome::parse_lsn;
use crate::error::{Error, Result, sqlstate};
use crate::place::{Kind, Place};
use crate::plans::Statement;
use crate::pool::{Need, Pooled};
use crate::routing::{Choice, Position, Positions, Preference, Target, Wants};

/// How long a replica's backend may take to be had before another node is tried.
const REPLICA_WITHIN: Duration = Duration::from_secs(2);

/// What a session's settings say of its reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reads {
    preference: Preference,
    max_lag_bytes: u64,
    max_lag: Duration,
}

impl Reads {
    pub fn of(settings: &Settings, config: &Config) -> Self {
        let preference = settings.get("atoll.read_preference").and_then(Preference::named).unwrap_or_default();
        let bytes = settings.get("atoll.max_lag_bytes").and_then(parse_bytes);
        let milliseconds = settings.get("atoll.max_lag_ms").and_then(parse_milliseconds);
        Self {
            preference,
            max_lag_bytes: bytes.unwrap_or(config.max_lag_bytes),
            max_lag: Duration::from_millis(milliseconds.unwrap_or(config.max_lag_ms)),
        }
    }

    pub fn preference(&self) -> Preference {
        self.preference
    }

    pub fn max_lag_bytes(&self) -> u64 {
        self.max_lag_bytes
    }

    pub fn max_lag_ms(&self) -> u64 {
        self.max_lag.as_millis() as u64
    }
}

/// A number with one of PostgreSQL's units for memory, or none: bytes.
pub fn parse_bytes(text: &str) -> Option<u64> {
    with_unit(text, &[("B", 1), ("kB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30), ("TB", 1 << 40)])
}

/// A number with one of PostgreSQL's units for time, or none: milliseconds.
pub fn parse_milliseconds(text: &str) -> Option<u64> {
    with_unit(text, &[("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 3_600_000)])
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" => 1,
        unit => units.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Where a statement's reads go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Route {
    #[default]
    Primary,
    Replicas,
}

/// What a session has committed, as far as reads elsewhere have to follow.
#[derive(Debug, Default)]
pub struct Written {
    positions: Positions,
    /// Groups with commits whose positions have not been asked for yet.
    unknown: BTreeSet<GroupIndex>,
}

impl Session {
    /// Where the reads of a statement go.
    pub(super) fn route_of(&mut self, statement: &Statement) -> Route {
        if self.reads.preference == Preference::Primary || self.is_serializable() {
            return Route::Primary;
        }
        let explicit = self.transaction.is_some();
        if (explicit && !self.is_read_only()) || !self.only_reads(statement) {
            return Route::Primary;
        }
        Route::Replicas
    }

    /// Before a statement that only primaries can run: the replicas from which its READ ONLY transaction has read leave it.
    ///
    /// # Errors
    /// 0A000 when the transaction has something on a replica that it would lose: its snapshot, or cursors.
    pub(super) async fn leave_replicas(&mut self, statement: &Statement) -> Result<()> {
        let Some(transaction) = self.transaction.as_ref().filter(|transaction| !transaction.failed) else {
            return Ok(());
        };
        let is_replica = |participant: &Participant| participant.lane.reads_for.is_some();
        let places: Vec<Place> =
            transaction.participants.iter().filter(|one| is_replica(one)).map(|one| one.place).collect();
        if places.is_empty() || !self.takes_a_primary(statement) {
            return Ok(());
        }
        let reads_on = self.cursors.values().any(|cursor| places.contains(&cursor.place)) || self.has_named_portals();
        if reads_on || self.keeps_its_snapshot() {
            return Err(Error::unsupported(
                "the statement needs a primary, but its transaction reads from a replica",
                "The transaction's snapshot or cursors are there.",
                "SET LOCAL atoll.read_preference = primary before the transaction's first query.",
            ));
        }
        let Some(transaction) = &mut self.transaction else { return Ok(()) };
        for mut participant in transaction.participants.extract_if(.., |one| is_replica(one)) {
            // A lane that cannot be told is not used again.
            if participant.lane.query("COMMIT").await.is_ok() {
                participant.lane.release();
            }
        }
        Ok(())
    }

    /// Whether a statement may do what a replica cannot, or would do for itself alone: advisory locks, notifications.
    fn takes_a_primary(&mut self, statement: &Statement) -> bool {
        match &statement.plan {
            Plan::Session(command) => {
                matches!(command, SessionPlan::Listen | SessionPlan::Unlisten | SessionPlan::Notify)
            }
            Plan::Transaction(_) | Plan::Own(_) | Plan::Explain(_) | Plan::Empty | Plan::Refuse(_) => false,
            _ => !self.only_reads(statement),
        }
    }

    /// What a replica cannot do, whatever is asked of it.
    fn is_serializable(&self) -> bool {
        let said = self.transaction.as_ref().and_then(|transaction| {
            ["READ COMMITTED", "REPEATABLE READ", "READ UNCOMMITTED"]
                .into_iter()
                .find_map(|level| transaction.last_mode("SERIALIZABLE", level))
        });
        said.unwrap_or_else(|| {
            let default = self.settings.get("default_transaction_isolation").unwrap_or_default();
            default.eq_ignore_ascii_case("serializable")
        })
    }

    /// Notes that a commit of the session's has taken effect on a group, or may have.
    pub(super) fn note_written(&mut self, group: GroupIndex) {
        self.written.unknown.insert(group);
    }

    /// A backend of a replica for a place, when the statement's reads may go there and one suits; nothing has been done on it yet.
    pub(super) async fn replica_lane(&mut self, place: Place, path: &Arc<str>, need: Need) -> Result<Option<Pooled>> {
        // Where the transaction is whose snapshot this one is to see.
        let replicas = self.transaction.as_ref().map(|transaction| &transaction.replicas);
        let bound_to = replicas.and_then(|all| all.iter().find(|(other, _)| *other == place));
        let bound_to = bound_to.map(|(_, node)| node.clone());
        if bound_to.is_none() && !self.may_read_apart(place) {
            return Ok(None);
        }
        let position = self.position_to_find(place.group).await?;
        let group = self.group_name(place.group);
        let cluster = self.worker.cluster.clone();
        let routing = cluster.keeper.routing();
        let Reads { preference, max_lag_bytes, max_lag } = self.reads;
        let wants = Wants { preference, max_lag_bytes, max_lag, zone: &cluster.config.zone, position: Some(position) };
        let mut excluded = Vec::new();
        loop {
            let target = match &bound_to {
                Some(node) => routing
                    .replica(&group, node)
                    .ok_or_else(|| Error::unreachable(node.as_str(), "it is no replica any more").undone())?,
                None => match routing.choose(&group, &wants, &excluded) {
                    Choice::Primary => return Ok(None),
                    Choice::Replica(target) => target,
                },
            };
            match self.lane_of(&target, place, path, need, position).await {
                Ok(Some(mut lane)) => {
                    // What can be run again on another node need not be waited for; a transaction cannot.
                    if !self.runs_alone {
                        lane.hedge(None);
                    }
                    metrics::counter!("atoll_coordinator_replica_reads_total", "node" => target.node.name.clone())
                        .increment(1);
                    self.used_replica = true;
                    return Ok(Some(lane));
                }
                Err(error) if bound_to.is_some() || error.sqlstate() == sqlstate::QUERY_CANCELED => return Err(error),
                // It cannot be reached, or does not know the role or the database yet.
                Err(error) => {
                    tracing::debug!(%error, node = target.node.name, "no backend of a replica: another node is asked");
                    excluded.push(target.node.name.clone());
                }
                Ok(None) => excluded.push(target.node.name.clone()),
            }
        }
    }

    /// Whether a place's part of the statement that runs may be read from a replica.
    fn may_read_apart(&self, place: Place) -> bool {
        let bound = self.transaction.as_ref().is_some_and(|transaction| {
            // What is staged, is staged at home's primary; what shares a snapshot is where that is.
            let stages = place.group == Directory::HOME && (!transaction.explicit || self.keeps_its_snapshot());
            stages || !transaction.snapshots.is_empty()
        });
        let is_pinned = self.pinned.iter().any(|(pinned, _)| *pinned == place);
        self.route == Route::Replicas && place.kind != Kind::Directory && !bound && !is_pinned
    }

    /// A backend of this replica, its settings in line, that is given up when the replica is ejected; `None` when it has not replayed as far as `position`.
    async fn lane_of(
        &mut self,
        target: &Arc<Target>,
        place: Place,
        path: &Arc<str>,
        need: Need,
        position: Position,
    ) -> Result<Option<Pooled>> {
        let pool = self.worker.replica_pool(target)?;
        let key = self.lane_key(self.role_at(place), place);
        let gone = || Error::unreachable(target.node.name.as_str(), "it has no backend to offer now");
        let ejection = target.ejection();
        let mut lane = tokio::select! {
            biased;
            taken = tokio::time::timeout(REPLICA_WITHIN, pool.take(&key, need, |lane| self.fit(lane, path))) => {
                taken.map_err(|_| gone())??
            }
            () = target.fence.cancelled() => return Err(gone()),
            () = ejection.cancelled() => return Err(gone()),
            cancelled = self.cancel.requested() => return Err(cancelled),
        };
        lane.hedge(Some(self.client.progress()));
        settle(&mut lane, &self.settings_at(place), self.id).await?;
        if lane.replayed < position.lsn {
            let sets = lane.query("SELECT pg_catalog.pg_last_wal_replay_lsn()").await?;
            let replayed = sets.first().map(|set| set.scalar()).transpose()?.and_then(parse_lsn);
            lane.replayed = replayed.unwrap_or_default();
            if lane.replayed < position.lsn {
                lane.release();
                return Ok(None);
            }
        }
        Ok(Some(lane))
    }

    /// What a replica must have replayed to answer the session: its own last commit in the group, and the definitions that statements are
    /// planned by.
    async fn position_to_find(&mut self, group: GroupIndex) -> Result<Position> {
        self.learn_position(group).await?;
        let (name, floors) = (self.group_name(group), self.facts().floors.clone());
        let floor = match floors.of(&name) {
            Some(floor) => floor,
            None => {
                let floor = self.end_of_log(group).await?;
                floors.note(&name, floor);
                floor
            }
        };
        Ok(self.written.positions.of(&name).map_or(floor, |own| own.and(floor)))
    }

    /// Notes where a group's log ends, when the session has committed there since it last did.
    async fn learn_position(&mut self, group: GroupIndex) -> Result<()> {
        if self.written.unknown.contains(&group) {
            let position = self.end_of_log(group).await?;
            let name = self.group_name(group);
            self.written.positions.advance(&name, position);
            self.written.unknown.remove(&group);
        }
        Ok(())
    }

    /// Asks a group's primary where its log ends.
    async fn end_of_log(&mut self, group: GroupIndex) -> Result<Position> {
        let path = self.plain_path();
        loop {
            let mut lane = self.pooled(Place::data(group), &path, Need::Joining).await?;
            let asked = lane.query("SELECT pg_catalog.pg_current_wal_insert_lsn()").await;
            let epoch = lane.origin().epoch;
            if let Some(sets) = self.answered(lane, asked).await? {
                let lsn = sets.first().map(|set| set.scalar()).transpose()?.and_then(parse_lsn);
                let lsn = lsn.ok_or_else(|| Error::internal("a primary does not say where its log is"))?;
                return Ok(Position { epoch, lsn });
            }
        }
    }

    /// `atoll.session_token()`: what the session has committed and seen, for another session to read no less.
    ///
    /// # Errors
    /// As [`Session::hold`].
    pub(super) async fn session_token(&mut self) -> Result<String> {
        for group in self.written.unknown.clone() {
            self.learn_position(group).await?;
        }
        Ok(self.written.positions.to_string())
    }

    /// `SET atoll.session_token`: takes over what another session has committed and seen.
    ///
    /// # Errors
    /// 22023 when it is no token.
    pub(super) fn take_token(&mut self, token: &str) -> Result<()> {
        let positions = Positions::parse(token).ok_or_else(|| {
            Error::sql(sqlstate::INVALID_PARAMETER_VALUE, format!("\"{token}\" is not a session token"))
                .with_hint("SELECT atoll.session_token() gives one.")
        })?;
        self.written.positions.merge(&positions);
        Ok(())
    }

    /// The least epoch of a group's primary that has what the session has seen.
    pub(super) fn epoch_seen(&self, group: &str) -> u64 {
        self.written.positions.of(group).map_or(0, |position| position.epoch)
    }

    /// Whether a statement that failed on a replica is to be run again on the primary, which may know better: what is not there yet, or what
    /// replaying stands in the way of.
    pub(super) fn runs_on_primary(&mut self, error: &Error, mark: super::client::Mark) -> bool {
        let failed = matches!(error, Error::Server(_) | Error::Told { .. });
        let again = failed
            && self.used_replica
            && self.transaction.is_none()
            && error.sqlstate() != sqlstate::QUERY_CANCELED
            && self.client.is_unseen(mark);
        if again {
            if error.sqlstate() == sqlstate::READ_ONLY {
                // It writes, although nothing told.
                (0..self.facts().directory.groups.len()).for_each(|group| self.note_written(GroupIndex(group)));
            }
            self.client.rewind(mark);
            metrics::counter!("atoll_coordinator_retries_total").increment(1);
        }
        again
    }
}

/// Checks a value of one of the session's settings for reads; whether it is one.
///
/// # Errors
/// 22023 for a value that says nothing.
pub fn check_setting(name: &str, value: &str) -> Result<bool> {
    let (valid, hint) = match name {
        "atoll.read_preference" => {
            (Preference::named(value).is_some(), "Available values: primary, replica, nearest, any.")
        }
        "atoll.max_lag_bytes" => {
            (parse_bytes(value).is_some(), "Valid units are \"B\", \"kB\", \"MB\", \"GB\", and \"TB\".")
        }
        "atoll.max_lag_ms" => {
            (parse_milliseconds(value).is_some(), "Valid units are \"ms\", \"s\", \"min\", and \"h\".")
        }
        _ => return Ok(false),
    };
    if valid {
        return Ok(true);
    }
    let message = format!("invalid value for parameter \"{name}\": \"{value}\"");
    Err(Error::sql(sqlstate::INVALID_PARAMETER_VALUE, message).with_hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_take_units() {
        assert_eq!(
            ["0", "16MB", "1 kB", "MB", "-1", "1XB"].map(parse_bytes),
            [Some(0), Some(16 << 20), Some(1 << 10), None, None, None]
        );
        assert_eq!(["250", "10s", "2min"].map(parse_milliseconds), [Some(250), Some(10_000), Some(120_000)]);
        assert!(check_setting("atoll.read_preference", "Any").is_ok_and(|own| own));
        assert!(check_setting("atoll.read_preference", "secondary").is_err());
        assert!(check_setting("atoll.merge_engine", "auto").is_ok_and(|own| !own));
    }

    #[test]
    fn settings_fall_back_to_the_configuration() {
        let config = Config::default();
        let default = Reads::of(&Settings::default(), &config);
        assert_eq!((default.preference, default.max_lag_bytes), (Preference::Primary, config.max_lag_bytes));
        let set = Settings::default().with("atoll.read_preference", Some("ANY")).with("atoll.max_lag_ms", Some("2s"));
        let own = Reads::of(&set, &config);
        assert_eq!((own.preference, own.max_lag_ms()), (Preference::Any, 2_000));
    }
}
