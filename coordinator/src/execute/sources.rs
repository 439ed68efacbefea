//! Rows that are at home, and that statements on shards see: at home itself as temporary tables, elsewhere in the text of the statement,
//! because a transaction that is to be prepared cannot have used temporary tables.

use std::sync::Arc;

use atoll_planner::directory::{Directory, Shard};
use atoll_planner::plan::{CatalogRows, Merge, Source, WriteWith};
use atoll_planner::{quote_identifier, quote_literal};

use super::route::Route;
use super::scatter::by_group;
use super::write::{counted, in_the_clients_verb};
use crate::error::{Error, Result};
use crate::place::Place;
use crate::plans::Statement;
use crate::session::Session;
use crate::session::simple::Ask;

impl Session {
    /// Runs work under settings that print values exactly, in forms that are read alike under all others.
    ///
    /// # Errors
    /// The work's.
    pub(super) async fn in_exact_forms<T>(&mut self, work: impl AsyncFnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let exact = self
            .settings
            .with("datestyle", Some("ISO, MDY"))
            .with("intervalstyle", Some("postgres"))
            .with("extra_float_digits", Some("1"));
        let own = std::mem::replace(&mut self.settings, exact);
        let done = work(self).await;
        self.settings = own;
        done
    }

    /// Rows of a relation, those that meet a condition, as a query that any backend answers.
    ///
    /// # Errors
    /// PostgreSQL's own.
    pub(super) async fn rows_as_text(&mut self, place: Place, table: &str, condition: &str) -> Result<String> {
        let columns = self.columns_at(place, table).await?;
        self.columns_as_text(place, table, &columns, condition).await
    }

    /// The columns of a relation: name and type.
    async fn columns_at(&mut self, place: Place, table: &str) -> Result<Vec<(String, String)>> {
        let path = self.plain_path();
        let sql = format!(
            "SELECT attname, pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute \
             WHERE attrelid = {}::pg_catalog.regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            quote_literal(table)
        );
        let sets = self.run_at(place, &path, &sql, false).await?;
        let columns =
            sets.into_iter().flat_map(|set| set.rows).filter_map(|row| match <[Option<String>; 2]>::try_from(row) {
                Ok([Some(name), Some(type_name)]) => Some((name, type_name)),
                _ => None,
            });
        Ok(columns.collect())
    }

    async fn columns_as_text(
        &mut self,
        place: Place,
        table: &str,
        columns: &[(String, String)],
        condition: &str,
    ) -> Result<String> {
        let path = self.plain_path();
        let arrays: Vec<String> = columns
            .iter()
            .map(|(name, _)| format!("pg_catalog.array_agg({}::text)::text", quote_identifier(name)))
            .collect();
        if arrays.is_empty() {
            return Err(Error::unsupported(
                "rows without columns cannot be sent to shards",
                "They travel as arrays of their columns' values.",
                "Give the source a column.",
            ));
        }
        let sql = format!("SELECT {} FROM {table} WHERE {condition}", arrays.join(", "));
        let sets =
            self.in_exact_forms(async |session: &mut Self| session.run_at(place, &path, &sql, false).await).await?;
        let values = sets.into_iter().next().and_then(|mut set| set.rows.pop()).unwrap_or_default();
        let literals: Vec<String> = values
            .iter()
            .map(|value| format!("pg_catalog.unnest({}::text[])", quote_literal(value.as_deref().unwrap_or("{}"))))
            .collect();
        let fields: Vec<String> = (0..columns.len()).map(|index| format!("c{index}")).collect();
        let list: Vec<String> = columns
            .iter()
            .enumerate()
            .map(|(index, (name, type_name))| {
                format!("CAST(listed.c{index} AS {type_name}) AS {}", quote_identifier(name))
            })
            .collect();
        Ok(format!(
            "SELECT {} FROM ROWS FROM ({}) AS listed ({})",
            list.join(", "),
            literals.join(", "),
            fields.join(", ")
        ))
    }

    /// Stages a relation of the catalog database at home.
    ///
    /// # Errors
    /// PostgreSQL's own.
    pub(super) async fn stage_catalog(&mut self, rows: &CatalogRows, condition: &str) -> Result<()> {
        let table = format!("{}.{}", quote_identifier(&rows.relation.schema), quote_identifier(&rows.relation.name));
        let mut columns = self.columns_at(Place::CATALOG, &table).await?;
        if let Some(wanted) = &rows.columns {
            let first = columns.first().cloned();
            columns.retain(|(name, _)| wanted.contains(name));
            if columns.is_empty() {
                // Only rows count.
                columns.extend(first);
            }
        }
        for (_, type_name) in &mut columns {
            // Types that are only ever written by the server, and names of what is in the catalog database alone.
            if matches!(
                type_name.as_str(),
                "pg_node_tree" | "anyarray" | "pg_ndistinct" | "pg_dependencies" | "pg_mcv_list"
            ) || type_name.starts_with("reg")
            {
                *type_name = "text".to_owned();
            }
        }
        let listed = self.columns_as_text(Place::CATALOG, &table, &columns, condition).await?;
        let (name, path) = (quote_identifier(&rows.name), self.plain_path());
        let sql = format!(
            "DROP TABLE IF EXISTS pg_temp.{name}; CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS {listed}; ANALYZE {name}"
        );
        self.run_at(Place::HOME, &path, &sql, false).await.map(drop)
    }

    /// UPDATE or DELETE with rows that the shards do not have; yields the command tag.
    ///
    /// # Errors
    /// The statement's.
    pub async fn write_with(&mut self, plan: &WriteWith, statement: &Arc<Statement>, ask: Ask<'_>) -> Result<String> {
        let write = &plan.write;
        self.describe(statement).await?;
        if self.is_read_only() {
            return Err(Error::sql("25006", format!("cannot execute {} in a read-only transaction", write.verb)));
        }
        let bound = ask.bound();
        let shards = match self.route(plan.colocation, plan.key_type, &plan.keys, bound).await? {
            Route::One(shard) => vec![shard],
            Route::Many(shards) => shards,
        };
        let path = self.plain_path();
        let (mut fragments, mut catalog) = (Vec::new(), Vec::new());
        for source in &plan.sources {
            match source {
                Source::Fragment(fragment) => fragments.push(fragment.clone()),
                Source::Catalog(rows) => catalog.push(rows.clone()),
                Source::Home { name, query } => {
                    let name = quote_identifier(name);
                    let sql = format!(
                        "DROP TABLE IF EXISTS pg_temp.{name}; CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS {query}; ANALYZE {name}"
                    );
                    self.run_at(Place::HOME, &path, &sql, false).await?;
                }
            }
        }
        let staged = Merge { fragments, sql: String::new(), datafusion: false, catalog, joined: None, grouped: None };
        self.stage_fragments(&staged, statement, ask).await?;
        let groups = by_group(&shards);
        let mut elsewhere = Vec::new();
        if groups.keys().any(|group| *group != Directory::HOME) {
            for source in &plan.sources {
                let table = format!("pg_temp.{}", quote_identifier(source.name()));
                elsewhere.push(self.rows_as_text(Place::HOME, &table, "TRUE").await?);
            }
        }
        self.describe_rows(write.returning, statement, ask).await?;
        let mut count = 0;
        for (group, shards) in groups {
            let mut with: Vec<String> = Vec::new();
            for (index, source) in plan.sources.iter().enumerate() {
                let name = quote_identifier(source.name());
                let rows = match group {
                    Directory::HOME => format!("SELECT * FROM pg_temp.{name}"),
                    _ => elsewhere[index].clone(),
                };
                with.push(format!("{name} AS ({rows})"));
            }
            let marked = write_over(plan, &with, &shards);
            let sql = self.text_everywhere(&marked).await?.into_owned();
            let formats = if write.returning { None } else { Some(&[][..]) };
            let written = self.run_for_rows(Place::data(group), &path, &sql, statement, ask, formats).await;
            let written = written.map_err(|error| in_the_clients_verb(error, write.verb))?;
            if write.returning {
                count += written.rows.len() as u64;
                self.push_rows(&written.rows).await?;
            } else {
                count += counted(&written)?;
            }
        }
        Ok(format!("{} {count}", write.verb))
    }
}

/// One statement that does the work of a group's shards.
fn write_over(plan: &WriteWith, sources: &[String], shards: &[Shard]) -> String {
    let returning = if plan.write.returning { "" } else { " RETURNING 1" };
    let arms = shards
        .iter()
        .enumerate()
        .map(|(index, shard)| format!("arm{index} AS ({}{returning})", plan.write.arm.render_marked(shard.id)));
    let with: Vec<String> = sources.iter().cloned().chain(arms).collect();
    let results: Vec<String> = (0..shards.len())
        .map(|index| match plan.write.returning {
            true => format!("SELECT * FROM arm{index}"),
            false => format!("(SELECT count(*) FROM arm{index})"),
        })
        .collect();
    let results =
        if plan.write.returning { results.join(" UNION ALL ") } else { format!("SELECT {}", results.join(" + ")) };
    format!("WITH {} {results}", with.join(", "))
}
