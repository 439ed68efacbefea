//! Calls that the coordinator answers itself: `atoll.transaction_status(id)` and its kin.

use atoll_planner::plan::{Own, OwnFunction};
use atoll_wire::backend;

use super::describe::column;
use super::extended::push_description;
use super::simple::Ask;
use super::{Session, Tier};
use crate::directory::outcome;
use crate::error::{Error, Result};
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
            Some(argument) => self.own_argument(argument, ask).await?,
        };
        let value = match (own.function, argument) {
            (OwnFunction::TransactionStatus, None) => None,
            (OwnFunction::TransactionStatus, Some(id)) => {
                let (keeper, database) = (self.worker.cluster.keeper.clone(), self.database.to_string());
                let asked = async move { outcome::status(&keeper, &database, &id).await };
                Some(self.worker.cluster.on_control(asked).await?.name().to_owned())
            }
            (OwnFunction::SessionToken, _) => Some(self.session_token().await?),
        };
        if ask.describes() {
            push_description(self.describe_own(own, ask_types(ask)).columns.as_deref(), &[], &mut self.client.output);
        }
        backend::data_row([value.as_deref().map(str::as_bytes)], &mut self.client.output);
        backend::command_complete("SELECT 1", &mut self.client.output);
        Ok(())
    }

    /// An argument's value, as text.
    async fn own_argument(&mut self, expression: &str, ask: Ask<'_>) -> Result<Option<String>> {
        if let Some(index) = parameter(expression) {
            let Ask::Bound(bound) = ask else {
                return Err(Error::sql("42P02", format!("there is no parameter {expression}")));
            };
            let value = bound.parameters.get(index).cloned().flatten();
            // A text is the same in both formats.
            return Ok(value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
        }
        let sets = self.question(&format!("SELECT ({expression})::pg_catalog.text")).await?;
        Ok(sets.into_iter().next().and_then(|mut set| set.rows.pop()).and_then(|mut row| row.pop()).flatten())
    }

    /// What such a call looks like: texts in, a text out.
    pub(super) fn describe_own(&self, own: &Own, types: &[u32]) -> Description {
        let parameters =
            own.arguments.iter().filter_map(|argument| parameter(argument)).max().map_or(0, |last| last + 1);
        let parameters = (0..parameters).map(|index| match types.get(index) {
            None | Some(0) => atoll_wire::oid::TEXT,
            Some(given) => *given,
        });
        Description {
            parameters: parameters.collect(),
            columns: Some(vec![column(&own.column, atoll_wire::oid::TEXT, -1)]),
        }
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
