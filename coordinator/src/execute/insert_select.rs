//! INSERT ... SELECT whose rows change shards: the query's rows are gathered in a temporary table at home, under the types and defaults
//! of the target's columns, then each shard gets those whose keys belong to it.

use std::sync::Arc;

use atoll_planner::catalog::Column;
use atoll_planner::plan::{InsertSelect, Many, Merge, Plan};
use atoll_planner::{quote_identifier, quote_literal};

use crate::ddl::shard_condition;
use crate::error::{Error, Result};
use crate::place::{Participants as _, Place};
use crate::plans::Statement;
use crate::session::Session;
use crate::session::simple::Ask;

/// The temporary table; its name cannot be a user's that is in use, because it is dropped before and after.
const GATHERED: &str = "atoll_gathered_rows";

impl Session {
    /// Runs it inside the transaction; yields the command tag.
    ///
    /// # Errors
    /// The statement's; 23502 for rows without a key.
    pub async fn insert_select(
        &mut self,
        insert: &InsertSelect,
        statement: &Arc<Statement>,
        ask: Ask<'_>,
    ) -> Result<String> {
        let facts = self.facts();
        let columns: Vec<Column> = facts
            .catalog
            .relations
            .get(&insert.table)
            .map(|relation| relation.columns.iter().filter(|column| !column.generated).cloned().collect())
            .ok_or_else(|| Error::internal("INSERT into a table that the catalog does not know"))?;
        let path = self.plain_path();
        let definitions: Vec<String> = columns.iter().map(definition).collect();
        let create = format!(
            "DROP TABLE IF EXISTS pg_temp.{GATHERED}; CREATE TEMPORARY TABLE {GATHERED} ({}) ON COMMIT DROP",
            definitions.join(", ")
        );
        self.run_at(Place::HOME, &path, &create, false).await?;
        let gathered = self.gather_rows(insert, statement, ask).await;
        self.note_sequences_drawn();
        gathered?;

        if !insert.key.is_none() {
            self.refuse_null_keys(insert, &path).await?;
        }
        let colocation = facts
            .database
            .colocations
            .get(&insert.colocation)
            .ok_or_else(|| Error::internal("INSERT into a co-location group that the directory lacks"))?;
        let names: Vec<String> = columns.iter().map(|column| quote_identifier(&column.name)).collect();
        let names = names.join(", ");
        let mut count = 0;
        self.describe_rows(insert.returning, statement, ask).await?;
        let mut order: Vec<_> = colocation.shards.iter().enumerate().collect();
        // Home first: two such statements take their locks in one order.
        order.sort_by_key(|(_, shard)| (shard.group, shard.id));
        for (position, shard) in order {
            let belongs = shard_condition(colocation, &insert.key.name, position);
            let rows = format!("SELECT {names} FROM pg_temp.{GATHERED} WHERE {belongs}");
            let slice = format!(
                "{}.{}",
                quote_identifier(&shard.id.schema(&insert.table.schema)),
                quote_identifier(&insert.table.name)
            );
            let target = format!("{slice} ({names})");
            let place = Place::data(shard.group);
            if let Some(tail) = &insert.tail {
                let rows = match place {
                    Place::HOME => rows,
                    _ => self.rows_as_text(Place::HOME, &format!("pg_temp.{GATHERED}"), &belongs).await?,
                };
                let alias =
                    insert.alias.as_ref().map_or(String::new(), |alias| format!(" AS {}", quote_identifier(alias)));
                let tail = tail.render_marked(shard.id);
                let marked = format!("INSERT INTO {slice}{alias} ({names}) OVERRIDING SYSTEM VALUE {rows} {tail}");
                let sql = self.text_everywhere(&marked).await?.into_owned();
                let written = self.run_for_rows(place, &path, &sql, statement, ask, None).await?;
                count += written.count();
                self.push_rows(&written.rows).await?;
            } else if place == Place::HOME {
                let sql = format!("INSERT INTO {target} OVERRIDING SYSTEM VALUE {rows}");
                let sets = self.run_at(place, &path, &sql, true).await?;
                let done = sets.first().and_then(|set| atoll_wire::backend::decode::rows_of_tag(&set.tag));
                count += done.unwrap_or(0);
            } else {
                let from = format!("COPY ({rows}) TO STDOUT (FORMAT binary)");
                let to = format!("COPY {target} FROM STDIN (FORMAT binary)");
                count += self.copy_between((Place::HOME, &from), (place, &to)).await?;
            }
        }
        self.run_at(Place::HOME, &path, &format!("DROP TABLE pg_temp.{GATHERED}"), false).await?;
        Ok(format!("INSERT 0 {count}"))
    }

    async fn refuse_null_keys(&mut self, insert: &InsertSelect, path: &Arc<str>) -> Result<()> {
        let key = quote_identifier(&insert.key.name);
        let empty = format!("SELECT count(*) FROM pg_temp.{GATHERED} WHERE {key} IS NULL");
        let sets = self.run_at(Place::HOME, path, &empty, false).await?;
        if sets.first().map(|set| set.scalar()).transpose()? == Some("0") {
            return Ok(());
        }
        Err(Error::sql(
            "23502",
            format!(
                "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                insert.key.name, insert.table.name
            ),
        )
        .with_detail("The distribution column decides the row's shard, and cannot be null."))
    }

    /// Fills the temporary table with the query's rows.
    async fn gather_rows(&mut self, insert: &InsertSelect, statement: &Arc<Statement>, ask: Ask<'_>) -> Result<()> {
        let columns = match &insert.columns {
            None => String::new(),
            Some(columns) => {
                let names: Vec<String> = columns.iter().map(|column| quote_identifier(column)).collect();
                format!(" ({})", names.join(", "))
            }
        };
        let overriding = insert.overriding.unwrap_or_default();
        let head = format!("INSERT INTO pg_temp.{GATHERED}{columns} {overriding} ");
        let sql = match &*insert.source {
            Plan::Relay(_) => format!("{head}{}", insert.query),
            Plan::Gather(gather) => format!("{head}{}", self.staged(&gather.merge, statement, ask).await?),
            Plan::Sharded(sharded) => match &sharded.many {
                Many::Merge(merge) => format!("{head}{}", self.staged(merge, statement, ask).await?),
                Many::Refuse(refusal) => return Err(Error::Refused(Box::new(refusal.clone()))),
                Many::Write(_) => return Err(unsupported()),
            },
            _ => return Err(unsupported()),
        };
        let sql = self.text_everywhere(&sql).await?.into_owned();
        let path = self.plain_path();
        self.run_for_rows(Place::HOME, &path, &sql, statement, ask, None).await.map(drop)
    }

    /// Stages a merge's fragments; what is left is its query.
    async fn staged(&mut self, merge: &Merge, statement: &Arc<Statement>, ask: Ask<'_>) -> Result<String> {
        self.stage_fragments(merge, statement, ask).await?;
        Ok(merge.sql.clone())
    }
}

fn unsupported() -> Error {
    Error::unsupported(
        "INSERT with the rows of a statement that itself writes to several shards is not supported",
        "The rows are fetched from a query, which writes nothing.",
        "Store the rows in a table that is not distributed first.",
    )
}

/// A column of the temporary table: the target's type and default, so that rows are what they would be there.
fn definition(column: &Column) -> String {
    let default = match (&column.identity, &column.default) {
        (Some(identity), _) => format!(" DEFAULT nextval({})", quote_literal(&identity.sequence)),
        (None, Some(default)) => format!(" DEFAULT {default}"),
        (None, None) => String::new(),
    };
    format!("{} {}{default}", quote_identifier(&column.name), column.type_name)
}
