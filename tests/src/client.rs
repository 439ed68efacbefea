//! A small blocking client: statements by the simple or the extended protocol, everything that came back as an [`Outcome`].

use anyhow::{Context, Result, bail};
use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::message::frontend;

use crate::Target;
use crate::outcome::{Outcome, ServerError, string};
use crate::wire::{Frame, Wire};

/// A parameter of an extended-protocol statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// 0 lets the server infer the type.
    pub type_oid: u32,
    pub binary: bool,
    pub value: Option<Vec<u8>>,
}

/// A logged-in session.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    /// What the server announced at login, in the order it came.
    pub settings: Vec<(String, String)>,
    /// Process id and secret of BackendKeyData.
    pub cancel_key: Option<(i32, i32)>,
}

impl Client {
    /// Logs in as `postgres` without a password.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses; the message is the server's.
    pub fn connect(target: &Target, database: &str) -> Result<Client> {
        Client::connect_as(target, &[("user", "postgres"), ("database", database)])
    }

    /// Logs in with the given startup parameters.
    ///
    /// # Errors
    /// As for [`Client::connect`].
    pub fn connect_as(target: &Target, parameters: &[(&str, &str)]) -> Result<Client> {
        let mut wire = Wire::connect(target)?;
        let mut out = BytesMut::new();
        frontend::startup_message(parameters.iter().copied(), &mut out)?;
        wire.send(&out)?;
        let mut client = Client { wire, settings: Vec::new(), cancel_key: None };
        loop {
            let frame =
                client.wire.frame()?.with_context(|| format!("{} closed the connection at login", target.label))?;
            let mut body = frame.body;
            match frame.tag {
                b'R' => match body.try_get_i32()? {
                    0 => {}
                    other => bail!("{} asks for authentication method {other}", target.label),
                },
                b'S' => client.settings.push((string(&mut body)?, string(&mut body)?)),
                b'K' => client.cancel_key = Some((body.try_get_i32()?, body.try_get_i32()?)),
                b'Z' => return Ok(client),
                b'E' => bail!("login refused by {}: {}", target.label, ServerError::parse(body)?),
                _ => {}
            }
        }
    }

    /// The socket, for tests that speak for themselves.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// Runs one simple-protocol message (any number of statements). A COPY FROM STDIN is ended with CopyFail.
    ///
    /// # Errors
    /// When the connection fails; what the server reports is in the outcome.
    pub fn simple(&mut self, sql: &str) -> Result<Outcome> {
        self.simple_with_copy(sql, None)
    }

    /// Runs one simple-protocol message that must succeed; the values of its first result, one a line.
    ///
    /// # Errors
    /// As for [`Client::simple`], and what the server reports.
    pub fn execute(&mut self, sql: &str) -> Result<String> {
        let outcome = self.simple(sql)?;
        if let Some(error) = outcome.error {
            bail!("{sql}: {error}");
        }
        let values = outcome.text_rows().into_iter().flatten();
        Ok(values.map(Option::unwrap_or_default).collect::<Vec<_>>().join("\n"))
    }

    /// Runs one simple-protocol message and sends `data` when the server asks for COPY data.
    ///
    /// # Errors
    /// As for [`Client::simple`].
    pub fn simple_with_copy(&mut self, sql: &str, data: Option<&[u8]>) -> Result<Outcome> {
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out)?;
        self.wire.send(&out)?;
        self.collect(data, false)
    }

    /// Runs one statement by Parse, Bind, Describe, Execute and Sync.
    ///
    /// # Errors
    /// As for [`Client::simple`].
    pub fn extended(
        &mut self,
        sql: &str,
        parameters: &[Parameter],
        binary_results: bool,
        data: Option<&[u8]>,
    ) -> Result<Outcome> {
        let mut out = BytesMut::new();
        frontend::parse("", sql, parameters.iter().map(|parameter| parameter.type_oid), &mut out)?;
        let formats = parameters.iter().map(|parameter| i16::from(parameter.binary));
        let bound = frontend::bind(
            "",
            "",
            formats,
            parameters,
            |parameter, out| {
                Ok(match &parameter.value {
                    Some(value) => {
                        out.extend_from_slice(value);
                        postgres_protocol::IsNull::No
                    }
                    None => postgres_protocol::IsNull::Yes,
                })
            },
            [i16::from(binary_results)],
            &mut out,
        );
        if bound.is_err() {
            bail!("parameters that cannot be bound: {parameters:?}");
        }
        frontend::describe(b'P', "", &mut out)?;
        frontend::execute("", 0, &mut out)?;
        // Nobody can know whether a Sync that is sent before COPY data is swallowed by the COPY (PostgreSQL ignores Sync while it reads
        // data) or answered (when the COPY fails before it reads): so it follows the data.
        let copies = data.is_some();
        if copies {
            frontend::flush(&mut out);
        } else {
            frontend::sync(&mut out);
        }
        self.wire.send(&out)?;
        self.collect(data, copies)
    }

    /// The next frame; `None` when the server has closed the connection.
    ///
    /// # Errors
    /// When nothing comes in time.
    pub fn frame(&mut self) -> Result<Option<Frame>> {
        self.wire.frame()
    }

    /// Everything up to ReadyForQuery; `owes_sync` when the message has gone out without one.
    fn collect(&mut self, data: Option<&[u8]>, mut owes_sync: bool) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        while let Some(frame) = self.wire.frame()? {
            let tag = frame.tag;
            let fatal = tag == b'E' && ServerError::parse(frame.body.clone())?.severity() != "ERROR";
            outcome.absorb(frame)?;
            match tag {
                b'Z' => return Ok(outcome),
                b'G' => self.send_copy(data)?,
                // After FATAL the server hangs up; there is no ReadyForQuery to wait for.
                b'E' if fatal => return Ok(outcome),
                _ => {}
            }
            if owes_sync && matches!(tag, b'G' | b'E' | b'C') {
                let mut out = BytesMut::new();
                frontend::sync(&mut out);
                self.wire.send(&out)?;
                owes_sync = false;
            }
        }
        bail!("the server closed the connection in the middle of an answer: {outcome:?}")
    }

    fn send_copy(&mut self, data: Option<&[u8]>) -> Result<()> {
        let mut out = BytesMut::new();
        match data {
            Some(data) => {
                // Pieces that do not respect row boundaries, as PostgreSQL allows.
                for piece in data.chunks(4093) {
                    let piece = frontend::CopyData::new(Bytes::copy_from_slice(piece))?;
                    piece.write(&mut out);
                }
                frontend::copy_done(&mut out);
            }
            None => frontend::copy_fail("no data was given", &mut out)?,
        }
        self.wire.send(&out)
    }
}
