//! Messages of the client's side, chained into one buffer.

use bytes::{BufMut, BytesMut};
use postgres_protocol::message::frontend;

/// Messages to be sent in one write.
#[derive(Debug, Default, Clone)]
pub struct Messages {
    bytes: BytesMut,
}

impl Messages {
    #[must_use]
    pub fn new() -> Messages {
        Messages::default()
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[must_use]
    pub fn query(self, sql: &str) -> Messages {
        self.message(b'Q', |out| put_string(out, sql))
    }

    #[must_use]
    pub fn parse(self, name: &str, sql: &str, types: &[u32]) -> Messages {
        self.message(b'P', |out| {
            put_string(out, name);
            put_string(out, sql);
            put_count(out, types.len());
            types.iter().for_each(|oid| out.put_u32(*oid));
        })
    }

    /// Binds text parameters and asks for text results.
    #[must_use]
    pub fn bind(self, portal: &str, statement: &str, parameters: &[Option<&str>]) -> Messages {
        let parameters: Vec<Option<&[u8]>> = parameters.iter().map(|one| one.map(str::as_bytes)).collect();
        self.bind_formats(portal, statement, &[], &parameters, &[])
    }

    /// Binds with the given format codes for parameters and results, as the protocol has them.
    #[must_use]
    pub fn bind_formats(
        self,
        portal: &str,
        statement: &str,
        parameter_formats: &[i16],
        parameters: &[Option<&[u8]>],
        result_formats: &[i16],
    ) -> Messages {
        self.message(b'B', |out| {
            put_string(out, portal);
            put_string(out, statement);
            put_count(out, parameter_formats.len());
            parameter_formats.iter().for_each(|format| out.put_i16(*format));
            put_count(out, parameters.len());
            for parameter in parameters {
                match parameter {
                    Some(value) => {
                        out.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
                        out.put_slice(value);
                    }
                    None => out.put_i32(-1),
                }
            }
            put_count(out, result_formats.len());
            result_formats.iter().for_each(|format| out.put_i16(*format));
        })
    }

    #[must_use]
    pub fn describe_statement(self, name: &str) -> Messages {
        self.named(b'D', b'S', name)
    }

    #[must_use]
    pub fn describe_portal(self, name: &str) -> Messages {
        self.named(b'D', b'P', name)
    }

    #[must_use]
    pub fn close_statement(self, name: &str) -> Messages {
        self.named(b'C', b'S', name)
    }

    #[must_use]
    pub fn close_portal(self, name: &str) -> Messages {
        self.named(b'C', b'P', name)
    }

    /// Executes a portal; `rows_max` 0 is without limit.
    #[must_use]
    pub fn execute(self, portal: &str, rows_max: i32) -> Messages {
        self.message(b'E', |out| {
            put_string(out, portal);
            out.put_i32(rows_max);
        })
    }

    #[must_use]
    pub fn sync(mut self) -> Messages {
        frontend::sync(&mut self.bytes);
        self
    }

    #[must_use]
    pub fn flush(mut self) -> Messages {
        frontend::flush(&mut self.bytes);
        self
    }

    #[must_use]
    pub fn terminate(mut self) -> Messages {
        frontend::terminate(&mut self.bytes);
        self
    }

    #[must_use]
    pub fn copy_data(self, data: &[u8]) -> Messages {
        self.message(b'd', |out| out.put_slice(data))
    }

    #[must_use]
    pub fn copy_done(mut self) -> Messages {
        frontend::copy_done(&mut self.bytes);
        self
    }

    #[must_use]
    pub fn copy_fail(self, reason: &str) -> Messages {
        self.message(b'f', |out| put_string(out, reason))
    }

    /// One statement through the whole extended protocol, without the Sync.
    #[must_use]
    pub fn run(self, sql: &str, parameters: &[Option<&str>]) -> Messages {
        self.parse("", sql, &[]).bind("", "", parameters).describe_portal("").execute("", 0)
    }

    /// A startup packet of that protocol version; parameters as name, value.
    #[must_use]
    pub fn startup(mut self, version: u32, parameters: &[(&str, &str)]) -> Messages {
        let at = self.bytes.len();
        self.bytes.put_u32(0);
        self.bytes.put_u32(version);
        for (name, value) in parameters {
            put_string(&mut self.bytes, name);
            put_string(&mut self.bytes, value);
        }
        self.bytes.put_u8(0);
        self.set_length(at);
        self
    }

    /// SSLRequest (80877103), GSSENCRequest (80877104) or any other code of eight bytes.
    #[must_use]
    pub fn request(mut self, code: u32) -> Messages {
        self.bytes.put_u32(8);
        self.bytes.put_u32(code);
        self
    }

    #[must_use]
    pub fn cancel(mut self, pid: i32, secret: i32) -> Messages {
        frontend::cancel_request(pid, secret, &mut self.bytes);
        self
    }

    /// Any bytes at all.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Messages {
        self.bytes.put_slice(bytes);
        self
    }

    /// A message with that tag, its length, and a body of the caller's.
    #[must_use]
    pub fn message(mut self, tag: u8, body: impl FnOnce(&mut BytesMut)) -> Messages {
        self.bytes.put_u8(tag);
        let at = self.bytes.len();
        self.bytes.put_u32(0);
        body(&mut self.bytes);
        self.set_length(at);
        self
    }

    fn named(self, tag: u8, kind: u8, name: &str) -> Messages {
        self.message(tag, |out| {
            out.put_u8(kind);
            put_string(out, name);
        })
    }

    fn set_length(&mut self, at: usize) {
        let length = u32::try_from(self.bytes.len() - at).unwrap_or(u32::MAX);
        self.bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }
}

fn put_string(out: &mut BytesMut, text: &str) {
    out.put_slice(text.as_bytes());
    out.put_u8(0);
}

fn put_count(out: &mut BytesMut, count: usize) {
    out.put_u16(u16::try_from(count).unwrap_or(u16::MAX));
}
