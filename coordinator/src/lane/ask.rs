//! The coordinator's own questions on a lane: statements whose results are collected, and descriptions.

use atoll_wire::backend::decode;
use atoll_wire::frames::next_frame;
use atoll_wire::frontend;
use bytes::{Bytes, BytesMut};

use super::{Lane, ResultSet, is_unreplicated};
use crate::error::{Error, Result};
use crate::plans::Description;

/// No single message of a backend is larger (PostgreSQL's own limit is 1 GiB).
const FRAME_BYTES_MAX: usize = 1 << 30;
/// Notices that a lane keeps for whoever wants them; more are left out.
const NOTICES_BYTES_MAX: usize = 1 << 20;

impl Lane {
    /// Runs statements by the simple protocol and collects their results in text form.
    ///
    /// # Errors
    /// The first error of the message, with PostgreSQL's fields; the lane stays usable. [`Error::LaneLost`].
    pub async fn query(&mut self, sql: &str) -> Result<Vec<ResultSet>> {
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out);
        self.send(out.freeze()).await?;
        self.collect(1).await
    }

    /// Sends messages of which `ready` are answered with ReadyForQuery, and collects the results.
    ///
    /// # Errors
    /// As [`Lane::query`].
    pub async fn exchange(&mut self, messages: Bytes, ready: usize) -> Result<Vec<ResultSet>> {
        self.send(messages).await?;
        self.collect(ready).await
    }

    /// Runs one statement with text parameters, which do not show in the server's view of its activity (secrets).
    ///
    /// # Errors
    /// As [`Lane::query`].
    pub async fn query_with(&mut self, sql: &str, parameters: &[&str]) -> Result<Vec<ResultSet>> {
        let mut out = BytesMut::new();
        frontend::parse("", sql, &[], &mut out);
        frontend::bind("", "", &[], parameters.iter().map(|value| Some(value.as_bytes())), &[], &mut out);
        frontend::describe(b'P', "", &mut out);
        frontend::execute("", 0, &mut out);
        frontend::sync(&mut out);
        self.send(out.freeze()).await?;
        self.collect(1).await
    }

    /// Reads until `ready` ReadyForQuery have come, collecting results.
    ///
    /// # Errors
    /// As [`Lane::query`].
    pub async fn collect(&mut self, ready: usize) -> Result<Vec<ResultSet>> {
        let mut sets = Vec::new();
        let mut current = ResultSet::default();
        let mut failure = None;
        let mut left = ready;
        while left > 0 {
            let mut chunk = BytesMut::from(self.receive_frames().await?);
            while left > 0
                && let Some(frame) = next_frame(&mut chunk, FRAME_BYTES_MAX)?
            {
                match frame.tag {
                    b'T' => current.columns = decode::row_description(frame.body_slice())?,
                    b'D' => current.rows.push(text_row(frame.body_slice())?),
                    b'C' => {
                        current.tag = decode::command_complete(frame.body_slice())?.to_owned();
                        sets.push(std::mem::take(&mut current));
                    }
                    b'E' => {
                        let fields = decode::error_fields(frame.body_slice())?;
                        if let Some(lost) = self.last_word(&fields) {
                            return Err(lost);
                        }
                        failure.get_or_insert(fields);
                    }
                    b'A' => self.aside.extend_from_slice(&self.notification(&frame.raw)?),
                    b'S' => {
                        let (name, value) = decode::parameter_status(frame.body_slice())?;
                        self.parameters.insert(name.to_owned(), value.to_owned());
                    }
                    b'N' => {
                        let fields = decode::error_fields(frame.body_slice())?;
                        if let Some(lost) = self.last_word(&fields) {
                            return Err(lost);
                        }
                        if is_unreplicated(&fields) {
                            self.unreplicated = true;
                        } else if self.notices.len() < NOTICES_BYTES_MAX {
                            self.notices.extend_from_slice(&frame.raw);
                        }
                    }
                    b'Z' => {
                        self.ready(decode::ready_for_query(frame.body_slice())?);
                        left -= 1;
                    }
                    _ => {}
                }
            }
            self.hear(&mut chunk)?;
            if !chunk.is_empty() {
                // The answer to what was sent behind.
                self.unread = Some(chunk.freeze());
            }
        }
        match failure {
            Some(fields) => Err(Error::Server(Box::new(fields))),
            None => Ok(sets),
        }
    }

    /// Parses a statement and has it described, without running it.
    ///
    /// # Errors
    /// What PostgreSQL says of a statement that it does not accept; [`Error::LaneLost`].
    pub async fn describe(&mut self, sql: &str, types: &[u32]) -> Result<Description> {
        let mut out = BytesMut::new();
        frontend::parse("", sql, types, &mut out);
        frontend::describe(b'S', "", &mut out);
        self.described(out).await
    }

    /// The description of a statement that is prepared there under this name.
    ///
    /// # Errors
    /// As [`Lane::describe`].
    pub async fn describe_prepared(&mut self, name: &str) -> Result<Description> {
        let mut out = BytesMut::new();
        frontend::describe(b'S', name, &mut out);
        self.described(out).await
    }

    async fn described(&mut self, mut out: BytesMut) -> Result<Description> {
        frontend::sync(&mut out);
        self.send(out.freeze()).await?;
        let mut description = Description { parameters: Vec::new(), columns: None };
        let mut failure = None;
        loop {
            let mut chunk = BytesMut::from(self.receive_frames().await?);
            while let Some(frame) = next_frame(&mut chunk, FRAME_BYTES_MAX)? {
                match frame.tag {
                    b't' => description.parameters = decode::parameter_description(frame.body_slice())?,
                    b'T' => description.columns = Some(decode::row_description(frame.body_slice())?),
                    b'E' => {
                        let fields = decode::error_fields(frame.body_slice())?;
                        if let Some(lost) = self.last_word(&fields) {
                            return Err(lost);
                        }
                        failure.get_or_insert(fields);
                    }
                    b'Z' => {
                        self.ready(decode::ready_for_query(frame.body_slice())?);
                        return failure.map_or(Ok(description), |fields| Err(Error::Server(Box::new(fields))));
                    }
                    _ => {}
                }
            }
        }
    }
}

fn text_row(body: &[u8]) -> Result<Vec<Option<String>>> {
    decode::data_row(body)?.map(|field| Ok(field?.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))).collect()
}
