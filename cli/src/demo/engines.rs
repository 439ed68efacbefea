//! TPC-H with each merge engine forced: whichever answers, it answers as PostgreSQL does.

use anyhow::Context;
use atoll_demo::script::Statement;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::answer::Answer;
use crate::output::{say, show};

/// Prints a line per engine; returns how many answers differed.
///
/// # Errors
/// When the plain PostgreSQL fails, or an engine cannot be chosen.
pub async fn compare(here: &Client, there: &Client, statements: &[Statement]) -> anyhow::Result<usize> {
    let mut expected = Vec::new();
    for statement in statements {
        let answer = Answer::ask(there, statement.sql).await;
        expected.push(answer.with_context(|| format!("`{}` on the plain PostgreSQL", statement.title))?);
    }
    let mut unequal = 0;
    for engine in ["postgres", "datafusion"] {
        say(format_args!("running TPC-H with atoll.merge_engine = {engine}"));
        here.batch_execute(&format!("SET atoll.merge_engine = '{engine}'")).await?;
        let (mut equal, mut refused) = (0, 0);
        for (statement, expected) in statements.iter().zip(&expected) {
            // Only DataFusion may decline.
            if engine == "datafusion"
                && let Err(error) = here.simple_query(statement.sql).await
                && error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED)
            {
                refused += 1;
                continue;
            }
            let difference = match Answer::ask(here, statement.sql).await {
                Ok(answer) => answer.difference(expected, statement.is_ordered),
                Err(error) => Some(format!("{error:#}")),
            };
            match difference {
                None => equal += 1,
                Some(difference) => {
                    unequal += 1;
                    show(format_args!("{} with {engine}: {difference}", statement.title));
                }
            }
        }
        let all = statements.len();
        show(format_args!("TPC-H with atoll.merge_engine = {engine}: {equal} of {all} equal, {refused} refused"));
    }
    here.batch_execute("RESET atoll.merge_engine").await?;
    Ok(unequal)
}
