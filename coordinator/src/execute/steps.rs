//! Statements with writes in WITH, over several shards: the writes run one after the other, what they return is kept at home in temporary
//! tables under their names, and the rest of the statement reads those.

use std::sync::Arc;

use atoll_planner::plan::{Step, Steps};
use atoll_planner::{quote_identifier, quote_literal};
use atoll_wire::backend::{Column, decode};
use atoll_wire::frames::{Frame, peek};
use atoll_wire::frontend;
use bytes::BytesMut;

use crate::error::{Error, Result};
use crate::place::Place;
use crate::plans::Statement;
use crate::session::Session;
use crate::session::extended::{Bound, push_description};
use crate::session::simple::Ask;

impl Session {
    /// Runs it inside the transaction; yields the command tag.
    ///
    /// # Errors
    /// The statement's.
    pub async fn run_steps(&mut self, plan: &Steps, statement: &Arc<Statement>, ask: Ask<'_>) -> Result<String> {
        let description = self.describe(statement).await?;
        if self.is_read_only() {
            return Err(Error::sql("25006", format!("cannot execute {} in a read-only transaction", plan.verb)));
        }
        let path = self.plain_path();
        for step in &plan.steps {
            self.run_step(step, &description.parameters, ask).await?;
        }
        let main = self.part(&plan.main, &description.parameters).await?;
        // As the catalog database describes the whole.
        let _ = main.description.set(description.clone());
        let bound = match ask {
            Ask::Simple => without_parameters()?,
            Ask::Bound(bound) => Bound { describe: false, ..bound.clone() },
        };
        let mut produced = self.execute_into_buffer(&main, Ask::Bound(&bound)).await?.freeze();
        if ask.describes() && description.columns.is_some() {
            push_description(description.columns.as_deref(), &bound.result_formats, &mut self.client.output);
        }
        let mut tag = String::new();
        while let Some((kind, length)) = peek(&produced) {
            let frame = produced.split_to(length.min(produced.len()));
            match kind {
                b'C' => tag = decode::command_complete(&frame[5..])?.to_owned(),
                _ => {
                    self.client.push(&frame);
                    self.client.flush_if_large().await?;
                }
            }
        }
        let kept = plan.steps.iter().filter(|step| step.shape.is_some());
        let names: Vec<String> = kept.map(|step| format!("pg_temp.{}", quote_identifier(&step.name))).collect();
        if !names.is_empty() {
            self.run_at(Place::HOME, &path, &format!("DROP TABLE {}", names.join(", ")), false).await?;
        }
        Ok(tag)
    }

    /// A part of a statement as one of its own, which no other session shares.
    async fn part(&mut self, text: &str, types: &[u32]) -> Result<Arc<Statement>> {
        self.staged_kept += 1;
        let text = format!("/* part {} of session {} */ {text}", self.staged_kept, self.id);
        self.plan(&text, types).await
    }

    /// One write; its rows become a temporary table.
    async fn run_step(&mut self, step: &Step, types: &[u32], ask: Ask<'_>) -> Result<()> {
        let part = self.part(&step.text, types).await?;
        let mut columns = None;
        if let Some(shape) = &step.shape {
            let description = self.ask_postgres(shape, types, Place::CATALOG).await?;
            columns.clone_from(&description.columns);
            let _ = part.description.set(Arc::new(description));
        }
        let in_text = match ask {
            Ask::Simple => None,
            Ask::Bound(bound) => Some(as_text(bound)?),
        };
        let ask = in_text.as_ref().map_or(Ask::Simple, Ask::Bound);
        let work = async |session: &mut Self| session.execute_into_buffer(&part, ask).await;
        let produced = if columns.is_some() { self.in_exact_forms(work).await? } else { work(self).await? };
        match columns {
            Some(columns) => self.keep_rows(&step.name, &columns, produced).await,
            None => Ok(()),
        }
    }

    async fn keep_rows(&mut self, name: &str, columns: &[Column], produced: BytesMut) -> Result<()> {
        let mut arrays = vec![String::from("{"); columns.len()];
        let mut produced = produced.freeze();
        while let Some((kind, length)) = peek(&produced) {
            let frame = produced.split_to(length.min(produced.len()));
            if kind != b'D' {
                continue;
            }
            for (array, field) in arrays.iter_mut().zip(decode::data_row(&frame[5..])?) {
                push_element(field?, array);
            }
        }
        arrays.iter_mut().for_each(|array| array.push('}'));
        let path = self.plain_path();
        let types: Vec<String> = columns
            .iter()
            .map(|column| format!("pg_catalog.format_type({}, {})", column.type_oid, column.typmod))
            .collect();
        let types = self.ask_home(&format!("SELECT {}", types.join(", ")), &path).await?;
        let list: Vec<String> = columns
            .iter()
            .zip(&types)
            .enumerate()
            .map(|(index, (column, type_name))| {
                let type_name = type_name.as_deref().unwrap_or("text");
                format!("CAST(listed.c{index} AS {type_name}) AS {}", quote_identifier(&column.name))
            })
            .collect();
        let sources: Vec<String> =
            arrays.iter().map(|array| format!("pg_catalog.unnest({}::text[])", quote_literal(array))).collect();
        let fields: Vec<String> = (0..columns.len()).map(|index| format!("c{index}")).collect();
        let name = quote_identifier(name);
        let sql = format!(
            "CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS SELECT {} FROM ROWS FROM ({}) AS listed ({}); ANALYZE pg_temp.{name}",
            list.join(", "),
            sources.join(", "),
            fields.join(", ")
        );
        self.run_at(Place::HOME, &path, &sql, false).await.map(drop).map_err(|error| match error {
            Error::Server(mut fields) => {
                fields.remove(b'P');
                Error::Server(fields)
            }
            other => other,
        })
    }
}

/// What a statement of the simple protocol asks for.
fn without_parameters() -> Result<Bound> {
    let mut out = BytesMut::new();
    frontend::bind("", "", &[], std::iter::empty(), &[], &mut out);
    Bound::decode(Frame::from_raw(out.freeze())?, false)
}

/// The same parameters, for an answer in text.
fn as_text(bound: &Bound) -> Result<Bound> {
    let mut out = BytesMut::new();
    let values: Vec<Option<&[u8]>> = bound.parameters.iter().map(|value| value.as_deref()).collect();
    frontend::bind("", "", &bound.parameter_formats, values, &[], &mut out);
    let decoded = Bound::decode(Frame::from_raw(out.freeze())?, false)?;
    Ok(Bound { types: bound.types.clone(), ..decoded })
}

/// One more element of an array in text form.
fn push_element(field: Option<&[u8]>, array: &mut String) {
    if array.len() > 1 {
        array.push(',');
    }
    let Some(field) = field else {
        array.push_str("NULL");
        return;
    };
    array.push('"');
    for c in String::from_utf8_lossy(field).chars() {
        if matches!(c, '"' | '\\') {
            array.push('\\');
        }
        array.push(c);
    }
    array.push('"');
}
