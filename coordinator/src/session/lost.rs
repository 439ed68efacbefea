//! What a lost backend means for the client: read again, unseen; 40001 for what is certainly undone; 08007 for what may be done; and once 57P01
//! for what the session kept there.

use std::time::Duration;

use atoll_planner::plan::Plan;
use atoll_wire::backend::{self, ErrorFields};

use super::client::Mark;
use super::reads::Route;
use super::{Held, Session};
use crate::directory::leaders::Asker;
use crate::error::{Error, Loss, Result, sqlstate};
use crate::lane::Lane;
use crate::place::Place;
use crate::plans::Statement;

/// How often a read that was cut is done again: one that itself brings servers down must not go through all of them.
const READS_AGAIN_MAX: u32 = 3;
/// Within this time it shows whether a backend that was told to end ended with its server.
const SERVER_ENDS_WITHIN: Duration = Duration::from_secs(1);

/// 40001: a transaction was cut off, and has certainly changed nothing.
pub fn cut_off(node: &str, reason: &str) -> Error {
    cut_off_because(&format!("node \"{node}\" went away")).with_detail(format!("{reason}. {NO_EFFECT}"))
}

/// [`cut_off`] for another cause than a lost backend.
pub fn cut_off_because(cause: &str) -> Error {
    Error::sql(sqlstate::SERIALIZATION_FAILURE, format!("the transaction was cut off: {cause}"))
        .with_detail(NO_EFFECT)
        .with_hint("Run the transaction again.")
}

const NO_EFFECT: &str = "Nothing of the transaction has taken effect.";

/// 08007: a commit was not answered. `id` is what `atoll.transaction_status` takes.
pub fn unknown_outcome(node: &str, reason: &str, id: Option<&str>) -> Error {
    let error = Error::sql(
        sqlstate::UNKNOWN_OUTCOME,
        format!("node \"{node}\" went away during the commit: whether the transaction has taken effect is not known"),
    );
    match id {
        Some(id) => error
            .with_detail(format!("{reason}. Transaction id: {id}"))
            .with_hint(format!("SELECT atoll.transaction_status('{id}') tells once the group has a primary again.")),
        None => {
            error.with_detail(format!("{reason}.")).with_hint("Look whether its changes are there before trying again.")
        }
    }
}

/// 08007: a commit was answered before its standbys had it.
pub fn unreplicated(node: &str) -> Error {
    Error::sql(
        sqlstate::UNKNOWN_OUTCOME,
        format!("node \"{node}\" has committed the transaction, but no standby has confirmed it: it may be lost in a failover"),
    )
    .with_detail("The wait for a standby was broken off, by a cancel or an administrator.")
    .with_hint("Look whether its changes are there before trying again.")
}

/// 57P01: what the session kept on a backend is gone with it.
fn state_lost(node: &str, place: Place, reason: &str) -> Error {
    let kept = if place == Place::CATALOG {
        "The channels that the session listens to"
    } else {
        "Temporary tables, cursors WITH HOLD, session advisory locks and the like"
    };
    Error::sql(
        sqlstate::ADMIN_SHUTDOWN,
        format!("what the session kept on node \"{node}\" is lost: its backend there ended"),
    )
    .with_detail(format!("{reason}. {kept} are gone; the session itself goes on."))
    .with_hint("Create again what is needed, and go on.")
}

/// Whether running a statement a second time can do no harm beyond what its answer says.
fn is_harmless(statement: &Statement) -> bool {
    matches!(statement.plan, Plan::Session(_) | Plan::Transaction(_) | Plan::Explain(_) | Plan::Empty | Plan::Own(_))
}

impl Session {
    /// Whether a statement provably only reads.
    pub(super) fn only_reads(&mut self, statement: &Statement) -> bool {
        let facts = self.planning_facts();
        statement.only_reads(&facts, &self.names)
    }

    /// The error of a statement that ran by itself on a lane that was lost, when it is more than that it was lost.
    pub(super) fn outcome_of(&mut self, error: Error, statement: &Statement) -> Error {
        match &error {
            Error::LaneLost { node, reason, loss: Loss::Cut | Loss::Terminated }
                if !is_harmless(statement) && !self.only_reads(statement) =>
            {
                unknown_outcome(node, reason, None)
            }
            _ => error,
        }
    }

    /// Whether a statement that failed outside a transaction is to be run again: it only reads, and the client has seen nothing of it.
    pub(super) async fn reads_again(
        &mut self,
        error: &Error,
        statement: &Statement,
        mark: Mark,
        times: &mut u32,
    ) -> bool {
        let Error::LaneLost { node, loss, .. } = error else { return false };
        if *times >= READS_AGAIN_MAX
            || self.transaction.is_some()
            || self.pinned.iter_mut().any(|(_, lane)| lane.has_ended())
            || !self.client.is_unseen(mark)
            || !self.only_reads(statement)
        {
            return false;
        }
        if *loss == Loss::Terminated && !self.server_ends(node).await {
            return false;
        }
        *times += 1;
        if *times > 1 {
            // What brings replicas down shall not go through all of them.
            self.route = Route::Primary;
        }
        metrics::counter!("atoll_coordinator_retries_total").increment(1);
        self.client.rewind(mark);
        true
    }

    /// Whether a node stops being the primary that it is, shortly.
    async fn server_ends(&self, node: &str) -> bool {
        let leaders = self.worker.cluster.keeper.leaders();
        match leaders.served_by(node) {
            None => true,
            Some(leader) => {
                tokio::time::timeout(SERVER_ENDS_WITHIN, leaders.superseded(&leader, Asker::Joiners)).await.is_ok()
            }
        }
    }

    /// The error as the client is to hear it: what a lost lane means here. Own backends that have ended are given up.
    pub(super) fn judged(&mut self, error: Error) -> Error {
        let Error::LaneLost { node, reason, loss } = &error else { return error };
        let lost = self.forget_ended(reason);
        if let Some(transaction) = &mut self.transaction {
            transaction.failed = true;
            return cut_off(node, reason);
        }
        match (lost, loss) {
            (Some(lost), _) => lost,
            (None, Loss::Unsent) => error,
            (None, Loss::Terminated) => Error::sql(sqlstate::ADMIN_SHUTDOWN, reason)
                .with_detail(format!("So said a backend of node \"{node}\".")),
            (None, Loss::Undone | Loss::Cut) => {
                let message = format!("the statement was cut off: node \"{node}\" went away");
                Error::sql(sqlstate::SERIALIZATION_FAILURE, message)
                    .with_detail(format!("{reason}. It has changed nothing."))
                    .with_hint("Run it again.")
            }
        }
    }

    /// Gives up the session's own lanes that have ended; the error that says so, if there were any.
    fn forget_ended(&mut self, reason: &str) -> Option<Error> {
        let mut error = None;
        let mut index = 0;
        while index < self.pinned.len() {
            if self.pinned[index].1.busy || self.pinned[index].1.has_ended() {
                error = Some(self.forget_pinned(index, reason));
            } else {
                index += 1;
            }
        }
        error
    }

    /// Gives up one of the session's own lanes.
    pub(super) fn forget_pinned(&mut self, index: usize, reason: &str) -> Error {
        let (place, lane) = self.pinned.swap_remove(index);
        let node = lane.node().to_string();
        drop(lane);
        self.cursors.retain(|_, cursor| cursor.place != place);
        if place == Place::HOME {
            self.forget_temporary_names();
        }
        state_lost(&node, place, reason)
    }

    /// One of the session's own backends ended while the client was silent. Channels that the session listens to are listened to again on another
    /// backend, with a warning; what else is lost is told with the next statement.
    ///
    /// # Errors
    /// FATAL when nobody serves to listen on: the client would wait for notifications in vain.
    pub(super) async fn lose_pinned(&mut self, index: usize, reason: &str) -> Result<()> {
        let listened = self.pinned[index].0 == Place::CATALOG && !self.channels.is_empty();
        let error = self.forget_pinned(index, reason);
        if !listened {
            self.state_lost = Some(error);
            return Ok(());
        }
        self.patience.renew();
        let path = self.plain_path();
        let again = async {
            let mut held = self.hold_ready(Place::CATALOG, &path).await?;
            let texts: Vec<String> = self.channels.iter().cloned().collect();
            self.lane(&mut held).query(&texts.join(";")).await?;
            self.let_go(held, true);
            Ok(())
        };
        again.await.map_err(|error: Error| Error::Fatal {
            sqlstate: sqlstate::ADMIN_SHUTDOWN,
            message: format!("terminating connection because its channels cannot be listened to any more: {error}"),
        })?;
        let mut warning = ErrorFields::new("WARNING", "01000", "notifications may have been missed");
        warning.set_detail(format!(
            "The backend that listened for the session ended ({reason}); another one listens now."
        ));
        backend::notice_response(&warning, &mut self.client.output);
        Ok(())
    }

    /// Notes which channels the session listens to, after a LISTEN or UNLISTEN that went well.
    pub(super) fn note_channels(&mut self, statement: &str, listen: bool) {
        let channel = statement.trim().trim_end_matches(';').split_ascii_whitespace().nth(1).unwrap_or_default();
        if listen {
            self.channels.insert(format!("LISTEN {channel}"));
        } else if channel == "*" {
            self.channels.clear();
        } else {
            self.channels.remove(&format!("LISTEN {channel}"));
        }
    }

    /// Gives up a lane that was just taken and has been lost, so that another can take its place.
    pub(super) fn give_up(&mut self, held: Held) {
        if let Held::Joined(index) = held
            && let Some(transaction) = &mut self.transaction
        {
            transaction.participants.truncate(index);
        }
    }

    /// After the loss of a lane that was just taken: waits until another is worth while.
    ///
    /// # Errors
    /// As [`super::hold::Patience::after`]; 57014.
    pub(super) async fn wait_for_another(&mut self, error: &Error) -> Result<()> {
        let Error::LaneLost { node, .. } = error else { return Ok(()) };
        let leaders = self.worker.cluster.keeper.leaders();
        let Some(leader) = leaders.served_by(node) else { return Ok(()) };
        tokio::select! {
            biased;
            waited = self.patience.after(leaders, &leader, Asker::Clients, error) => waited,
            cancelled = self.cancel.requested() => Err(cancelled),
        }
    }
}

/// Turns a commit's success into 08007 when it was answered before its standbys had it.
///
/// # Errors
/// As said.
pub fn check_replicated(lane: &mut Lane) -> Result<()> {
    if std::mem::take(&mut lane.unreplicated) { Err(unreplicated(lane.node())) } else { Ok(()) }
}
