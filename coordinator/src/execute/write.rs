//! UPDATE and DELETE over many shards, and writes to reference tables.

use std::sync::Arc;

use atoll_planner::directory::{Directory, GroupIndex, Shard, TableName};
use atoll_planner::plan::{ManyWrite, ReferenceWrite};
use atoll_planner::quote_identifier;
use atoll_wire::backend::decode;
use atoll_wire::frames::peek;
use atoll_wire::frontend;
use bytes::{Bytes, BytesMut};

use super::scatter::by_group;
use crate::error::{Error, Result};
use crate::place::{Participants as _, Place};
use crate::plans::Statement;
use crate::session::Session;
use crate::session::extended::{Bound, push_description};
use crate::session::simple::Ask;

/// Rows and tag of one statement, rows as the frames the client gets.
#[derive(Debug, Default)]
pub struct Written {
    pub rows: Vec<Bytes>,
    pub tag: String,
}

impl Written {
    /// The count at the tag's end.
    pub fn count(&self) -> u64 {
        decode::rows_of_tag(&self.tag).unwrap_or(0)
    }
}

impl Session {
    /// Runs one statement per group and adds up what they did; yields the command tag.
    ///
    /// # Errors
    /// The statement's.
    pub async fn write_many(
        &mut self,
        write: &ManyWrite,
        shards: &[Shard],
        statement: &Arc<Statement>,
        ask: Ask<'_>,
    ) -> Result<String> {
        let mut count = 0;
        let mut described = false;
        for (group, shards) in by_group(shards) {
            let marked = group_write(write, &shards);
            let sql = self.text_everywhere(&marked).await?.into_owned();
            let path = self.plain_path();
            let plain = write.returning || shards.len() == 1;
            let formats = if plain { None } else { Some(&[][..]) };
            let written = self.run_for_rows(Place::data(group), &path, &sql, statement, ask, formats).await;
            let written = written.map_err(|error| in_the_clients_verb(error, write.verb))?;
            if !std::mem::replace(&mut described, true) {
                self.describe_rows(write.returning, statement, ask).await?;
            }
            if plain {
                count += written.count();
                self.push_rows(&written.rows).await?;
            } else {
                count += counted(&written)?;
            }
        }
        Ok(format!("{} {count}", write.verb))
    }

    /// A simple-protocol answer begins with its RowDescription.
    pub async fn describe_rows(&mut self, returning: bool, statement: &Arc<Statement>, ask: Ask<'_>) -> Result<()> {
        if returning && ask.describes() {
            let description = self.describe(statement).await?;
            push_description(description.columns.as_deref(), &[], &mut self.client.output);
        }
        Ok(())
    }

    pub async fn push_rows(&mut self, rows: &[Bytes]) -> Result<()> {
        for row in rows {
            self.client.push(row);
            self.client.flush_if_large().await?;
        }
        Ok(())
    }

    /// Runs a statement with the client's parameters at a place, as a write of the transaction. `result_formats` overrides the client's.
    ///
    /// # Errors
    /// PostgreSQL's own.
    pub async fn run_for_rows(
        &mut self,
        place: Place,
        path: &Arc<str>,
        sql: &str,
        statement: &Arc<Statement>,
        ask: Ask<'_>,
        result_formats: Option<&[i16]>,
    ) -> Result<Written> {
        let facts = self.facts();
        let mut out = BytesMut::new();
        let types: Vec<u32> = match (ask, facts.types_of(place.group)) {
            (Ask::Simple, _) => Vec::new(),
            (Ask::Bound(bound), Some(map)) => bound.types.iter().map(|oid| map.from_catalog(*oid)).collect(),
            (Ask::Bound(bound), None) => bound.types.clone(),
        };
        let types = if types.is_empty() { statement.types.clone() } else { types };
        frontend::parse("", sql, &types, &mut out);
        bind_like(ask, result_formats, &mut out);
        frontend::execute("", 0, &mut out);
        frontend::sync(&mut out);
        let cancel = self.cancel.clone();
        let result = async {
            let lane = self.participant(place, path, true).await?;
            cancel
                .over(lane, async |lane| {
                    lane.send(out.freeze()).await?;
                    read_rows(lane).await
                })
                .await
        }
        .await;
        result.inspect_err(|_| self.note_failure())
    }

    /// A write to a reference table: on home first, which orders its locks; then every other group gets its effect.
    ///
    /// # Errors
    /// The statement's.
    pub async fn write_reference(
        &mut self,
        write: &ReferenceWrite,
        statement: &Arc<Statement>,
        ask: Ask<'_>,
    ) -> Result<String> {
        let path = self.plain_path();
        let description = self.describe(statement).await?;
        let marked = write.marked.as_deref().unwrap_or(&statement.text);
        let text = self.text_everywhere(marked).await?;
        let written = self.run_for_rows(Place::HOME, &path, &text, statement, ask, None).await?;
        self.describe_rows(description.columns.is_some(), statement, ask).await?;
        self.push_rows(&written.rows).await?;
        if write.deterministic {
            for group in self.other_groups() {
                self.run_for_rows(Place::data(group), &path, &text, statement, ask, None).await?;
            }
        } else if written.count() > 0 {
            self.copy_reference(&write.table).await?;
        }
        Ok(written.tag)
    }

    /// The groups that are not home.
    pub fn other_groups(&self) -> Vec<GroupIndex> {
        (0..self.facts().directory.groups.len()).map(GroupIndex).filter(|group| *group != Directory::HOME).collect()
    }

    /// Makes every other group's copy of a reference table equal to home's, inside the transaction: what a text with volatile parts did
    /// cannot be done again, only copied. Triggers and foreign keys are off: home has judged already.
    ///
    /// # Errors
    /// PostgreSQL's own.
    pub async fn copy_reference(&mut self, table: &TableName) -> Result<()> {
        let name = format!("{}.{}", quote_identifier(&table.schema), quote_identifier(&table.name));
        let columns: Vec<String> = self
            .facts()
            .catalog
            .relations
            .get(table)
            .into_iter()
            .flat_map(|relation| &relation.columns)
            .filter(|column| !column.generated)
            .map(|column| quote_identifier(&column.name))
            .collect();
        let columns = columns.join(", ");
        let off = "SELECT pg_catalog.set_config('session_replication_role', 'replica', true)";
        let on = "SELECT pg_catalog.set_config('session_replication_role', 'origin', true)";
        for group in self.other_groups() {
            let place = Place::data(group);
            let path = self.plain_path();
            self.run_privileged(place, off).await?;
            self.run_at(place, &path, &format!("DELETE FROM {name}"), true).await?;
            let from = format!("COPY {name} ({columns}) TO STDOUT (FORMAT binary)");
            let to = format!("COPY {name} ({columns}) FROM STDIN (FORMAT binary)");
            self.copy_between((Place::HOME, &from), (place, &to)).await?;
            self.run_privileged(place, on).await?;
        }
        Ok(())
    }
}

/// The group's statement is a SELECT around the client's.
pub(super) fn in_the_clients_verb(error: Error, verb: &str) -> Error {
    match error {
        Error::Server(mut fields) if fields.sqlstate() == "25006" => {
            fields.set_message(format!("cannot execute {verb} in a read-only transaction"));
            Error::Server(fields)
        }
        other => other,
    }
}

/// One statement that does the work of all of a group's shards, so that they share a snapshot.
fn group_write(write: &ManyWrite, shards: &[Shard]) -> String {
    if let [one] = shards {
        return write.arm.render_marked(one.id);
    }
    let returning = if write.returning { "" } else { " RETURNING 1" };
    let arms: Vec<String> = shards
        .iter()
        .enumerate()
        .map(|(index, shard)| format!("arm{index} AS ({}{returning})", write.arm.render_marked(shard.id)))
        .collect();
    let results: Vec<String> = (0..shards.len())
        .map(|index| {
            if write.returning {
                format!("SELECT * FROM arm{index}")
            } else {
                format!("(SELECT count(*) FROM arm{index})")
            }
        })
        .collect();
    if write.returning {
        format!("WITH {} {}", arms.join(", "), results.join(" UNION ALL "))
    } else {
        format!("WITH {} SELECT {}", arms.join(", "), results.join(" + "))
    }
}

pub(super) fn counted(written: &Written) -> Result<u64> {
    let row = written.rows.first().ok_or_else(|| Error::internal("a write without its count"))?;
    let field = decode::data_row(&row[5..])?.next().transpose()?.flatten();
    field
        .and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse().ok())
        .ok_or_else(|| Error::internal("a write without its count"))
}

/// Bind with the client's parameters.
pub fn bind_like(ask: Ask<'_>, result_formats: Option<&[i16]>, out: &mut BytesMut) {
    match ask {
        Ask::Simple => frontend::bind("", "", &[], std::iter::empty(), result_formats.unwrap_or(&[]), out),
        Ask::Bound(bound) => {
            let values = parameter_slices(bound);
            let formats = result_formats.unwrap_or(&bound.result_formats);
            frontend::bind("", "", &bound.parameter_formats, values, formats, out);
        }
    }
}

fn parameter_slices(bound: &Bound) -> Vec<Option<&[u8]>> {
    bound.parameters.iter().map(|value| value.as_deref()).collect()
}

/// Rows and tag up to ReadyForQuery.
///
/// # Errors
/// PostgreSQL's own.
pub async fn read_rows(lane: &mut crate::lane::Lane) -> Result<Written> {
    let mut written = Written::default();
    let mut failure = None;
    loop {
        let mut chunk = lane.receive_frames().await?;
        while let Some((tag, length)) = peek(&chunk) {
            let frame = chunk.split_to(length.min(chunk.len()));
            match tag {
                b'D' => written.rows.push(frame),
                b'C' => written.tag = decode::command_complete(&frame[5..])?.to_owned(),
                b'E' => {
                    failure.get_or_insert(decode::error_fields(&frame[5..])?);
                }
                b'Z' => {
                    lane.ready(decode::ready_for_query(&frame[5..])?);
                    return failure.map_or(Ok(written), |fields| Err(Error::Server(Box::new(fields))));
                }
                _ => {}
            }
        }
    }
}
