//! Calls that the coordinator answers itself: `atoll.transaction_status(id)` and its kin.

use atoll_planner::plan::{Own, OwnFunction, OwnType};
use atoll_planner::quote_literal;
use atoll_wire::backend;
use atoll_wire::frontend::format_of;

use super::describe::column;
use super::extended::push_description;
use super::simple::Ask;
use super::{Session, Tier};
use crate::directory::outcome;
use crate::error::{Error, Result};
use crate::lane::ResultSet;
use crate::plans::Description;

impl Session {
    /// Answers a call, up to and including its CommandComplete.
    ///
    /// # Errors
    /// The function's; what PostgreSQL says of an argument.
    pub(super) async fn own_call(&mut self, own: &Own, ask: Ask<'_>) -> Result<()> {
        self.tier = Tier::Coordinator;
        let argument = match own.arguments.first() {
            None => None,
            Some(argument) => self.own_argument(own.function, argument, ask).await?,
        };
        let value = match (own.function, argument) {
            (OwnFunction::SessionToken, _) => Some(self.session_token().await?),
            (OwnFunction::BackendPid, _) => Some(self.cancel.pid().to_string()),
            (_, None) => None,
            (OwnFunction::TransactionStatus, Some(id)) => {
                let (keeper, database) = (self.worker.cluster.keeper.clone(), self.database.to_string());
                let asked = async move { outcome::status(&keeper, &database, &id).await };
                Some(self.worker.cluster.on_control(asked).await?.name().to_owned())
            }
            (OwnFunction::CancelBackend, Some(pid)) => self.signal(own.function, "pg_cancel_backend", &pid).await?,
            (OwnFunction::TerminateBackend, Some(pid)) => {
                self.signal(own.function, "pg_terminate_backend", &pid).await?
            }
        };
        let described = self.describe_own(own, ask_types(ask));
        if ask.describes() {
            let formats = ask.bound().map_or(&[][..], |bound| &bound.result_formats);
            push_description(described.columns.as_deref(), formats, &mut self.client.output);
        }
        let binary = ask.bound().is_some_and(|bound| format_of(&bound.result_formats, 0) == 1);
        let value = value.map(|value| in_format(own.function.result(), value, binary));
        backend::data_row([value.as_deref()], &mut self.client.output);
        backend::command_complete("SELECT 1", &mut self.client.output);
        Ok(())
    }

    /// Cancels or ends a session of this coordinator by the process id that clients know it by; any other process id is left to PostgreSQL,
    /// whose backends these are. Yields what the function does.
    async fn signal(&mut self, function: OwnFunction, name: &str, pid: &str) -> Result<Option<String>> {
        let found = pid.parse().ok().and_then(|pid| self.worker.cluster.cancels.find(pid));
        let Some((other, role)) = found else {
            let sets = self.question(&format!("SELECT pg_catalog.{name}({}::int)", quote_literal(pid))).await?;
            return Ok(Some(sets.first().map(ResultSet::scalar).transpose()?.unwrap_or("f").to_owned()));
        };
        let may = format!(
            "SELECT rolsuper OR NOT target.super AND (pg_has_role(current_user, {role}, 'MEMBER') \
             OR pg_has_role(current_user, 'pg_signal_backend', 'MEMBER')) \
             FROM pg_roles, (SELECT rolsuper AS super FROM pg_roles WHERE rolname = {role}) AS target \
             WHERE rolname = current_user",
            role = quote_literal(&role)
        );
        let sets = self.question(&may).await?;
        if sets.first().and_then(|set| set.scalar().ok()) != Some("t") {
            let verb = if function == OwnFunction::CancelBackend {
                "query is being canceled"
            } else {
                "process is being terminated"
            };
            return Err(Error::sql(
                "42501",
                format!("must be a member of the role whose {verb} or member of pg_signal_backend"),
            ));
        }
        if function == OwnFunction::TerminateBackend {
            other.terminated.cancel();
            if other.pid() == self.cancel.pid() {
                return Err(Session::terminated());
            }
        }
        if other.pid() != self.cancel.pid() {
            other.interrupt().await;
        }
        Ok(Some("t".to_owned()))
    }

    /// An argument's value, as text.
    async fn own_argument(&mut self, function: OwnFunction, expression: &str, ask: Ask<'_>) -> Result<Option<String>> {
        if let Some(index) = parameter(expression) {
            let Ask::Bound(bound) = ask else {
                return Err(Error::sql("42P02", format!("there is no parameter {expression}")));
            };
            let Some(value) = bound.parameters.get(index).cloned().flatten() else { return Ok(None) };
            let binary = format_of(&bound.parameter_formats, index) == 1;
            if let (OwnType::Int4, true) = (function.argument(), binary) {
                let value =
                    <[u8; 4]>::try_from(&value[..]).map_err(|_| Error::sql("22P03", "incorrect binary data format"))?;
                return Ok(Some(i32::from_be_bytes(value).to_string()));
            }
            // A text is the same in both formats.
            return Ok(Some(String::from_utf8_lossy(&value).into_owned()));
        }
        if expression.trim_start_matches("pg_catalog.").trim_end_matches(' ') == "pg_backend_pid()" {
            return Ok(Some(self.cancel.pid().to_string()));
        }
        let wanted = type_name(function.argument());
        let sets = self.question(&format!("SELECT (({expression})::pg_catalog.{wanted})::pg_catalog.text")).await?;
        Ok(sets.into_iter().next().and_then(|mut set| set.rows.pop()).and_then(|mut row| row.pop()).flatten())
    }

    /// What such a call looks like.
    pub(super) fn describe_own(&self, own: &Own, types: &[u32]) -> Description {
        let parameters =
            own.arguments.iter().filter_map(|argument| parameter(argument)).max().map_or(0, |last| last + 1);
        let parameters = (0..parameters).map(|index| match types.get(index) {
            None | Some(0) => oid_of(own.function.argument()),
            Some(given) => *given,
        });
        Description {
            parameters: parameters.collect(),
            columns: Some(vec![column(&own.column, oid_of(own.function.result()), -1)]),
        }
    }
}

fn oid_of(kind: OwnType) -> u32 {
    match kind {
        OwnType::Text => atoll_wire::oid::TEXT,
        OwnType::Int4 => atoll_wire::oid::INT4,
        OwnType::Bool => atoll_wire::oid::BOOL,
    }
}

fn type_name(kind: OwnType) -> &'static str {
    match kind {
        OwnType::Text => "text",
        OwnType::Int4 => "int4",
        OwnType::Bool => "bool",
    }
}

/// A result's bytes.
fn in_format(kind: OwnType, value: String, binary: bool) -> Vec<u8> {
    match kind {
        OwnType::Int4 if binary => {
            value.parse::<i32>().expect("a process id of the coordinator's own").to_be_bytes().to_vec()
        }
        OwnType::Bool if binary => vec![u8::from(value == "t")],
        _ => value.into_bytes(),
    }
}

fn ask_types<'a>(ask: Ask<'a>) -> &'a [u32] {
    match ask {
        Ask::Simple => &[],
        Ask::Bound(bound) => &bound.types,
    }
}

/// The zero-based parameter that an expression is.
fn parameter(expression: &str) -> Option<usize> {
    let bare = expression.split("::").next().unwrap_or_default();
    let number: usize = bare.strip_prefix('$')?.trim().parse().ok()?;
    number.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_recognised() {
        assert_eq!(["$1", "$2::text", "'$1'", "$0", "f($1)"].map(parameter), [Some(0), Some(1), None, None, None]);
    }
}
