//! Builders of the messages a client sends; each appends to `out`.

use bytes::{BufMut, BytesMut};

use super::{open, tag};
use crate::frames::{Frame, FrameError, message, put_c_str, put_count, put_field, untagged};

pub fn query(sql: &str, out: &mut BytesMut) {
    message(tag::QUERY, out, |out| put_c_str(out, sql));
}

pub fn parse(name: &str, sql: &str, types: &[u32], out: &mut BytesMut) {
    message(tag::PARSE, out, |out| {
        put_c_str(out, name);
        put_c_str(out, sql);
        put_count(out, types.len());
        for &oid in types {
            out.put_u32(oid);
        }
    });
}

/// `parameter_formats` and `result_formats` as in [`super::Bind`].
pub fn bind<'a>(
    portal: &str,
    statement: &str,
    parameter_formats: &[i16],
    parameters: impl IntoIterator<Item = Option<&'a [u8]>, IntoIter: ExactSizeIterator>,
    result_formats: &[i16],
    out: &mut BytesMut,
) {
    message(tag::BIND, out, |out| {
        put_c_str(out, portal);
        put_c_str(out, statement);
        put_formats(out, parameter_formats);
        let parameters = parameters.into_iter();
        put_count(out, parameters.len());
        for parameter in parameters {
            put_field(out, parameter);
        }
        put_formats(out, result_formats);
    });
}

fn put_formats(out: &mut BytesMut, formats: &[i16]) {
    put_count(out, formats.len());
    for &format in formats {
        out.put_i16(format);
    }
}

/// Appends a client's Bind with other names; formats and parameters are copied as they are.
///
/// # Errors
/// 08P01 when `original` is not a Bind or ends within its names; the rest is left to the server to judge.
pub fn bind_renamed(original: &Frame, portal: &str, statement: &str, out: &mut BytesMut) -> Result<(), FrameError> {
    let mut cursor = open(original, tag::BIND, "Bind")?;
    cursor.c_bytes()?;
    cursor.c_bytes()?;
    message(tag::BIND, out, |out| {
        put_c_str(out, portal);
        put_c_str(out, statement);
        out.put_slice(cursor.rest());
    });
    Ok(())
}

/// `kind` is `b'S'` for a statement, `b'P'` for a portal.
pub fn describe(kind: u8, name: &str, out: &mut BytesMut) {
    message(tag::DESCRIBE, out, |out| {
        out.put_u8(kind);
        put_c_str(out, name);
    });
}

/// `max_rows` 0 is no limit.
pub fn execute(portal: &str, max_rows: i32, out: &mut BytesMut) {
    message(tag::EXECUTE, out, |out| {
        put_c_str(out, portal);
        out.put_i32(max_rows);
    });
}

/// `kind` is `b'S'` for a statement, `b'P'` for a portal.
pub fn close(kind: u8, name: &str, out: &mut BytesMut) {
    message(tag::CLOSE, out, |out| {
        out.put_u8(kind);
        put_c_str(out, name);
    });
}

pub fn sync(out: &mut BytesMut) {
    message(tag::SYNC, out, |_| ());
}

pub fn flush(out: &mut BytesMut) {
    message(tag::FLUSH, out, |_| ());
}

pub fn copy_data(data: &[u8], out: &mut BytesMut) {
    message(tag::COPY_DATA, out, |out| out.put_slice(data));
}

pub fn copy_done(out: &mut BytesMut) {
    message(tag::COPY_DONE, out, |_| ());
}

pub fn copy_fail(reason: &str, out: &mut BytesMut) {
    message(tag::COPY_FAIL, out, |out| put_c_str(out, reason));
}

pub fn terminate(out: &mut BytesMut) {
    message(tag::TERMINATE, out, |_| ());
}

pub fn sasl_initial_response(mechanism: &str, data: Option<&[u8]>, out: &mut BytesMut) {
    message(tag::PASSWORD, out, |out| {
        put_c_str(out, mechanism);
        put_field(out, data);
    });
}

pub fn sasl_response(data: &[u8], out: &mut BytesMut) {
    message(tag::PASSWORD, out, |out| out.put_slice(data));
}

/// The startup packet of protocol 3.0.
pub fn startup<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>, out: &mut BytesMut) {
    untagged(out, |out| {
        out.put_u32(3 << 16);
        for (name, value) in parameters {
            put_c_str(out, name);
            put_c_str(out, value);
        }
        out.put_u8(0);
    });
}

pub fn ssl_request(out: &mut BytesMut) {
    untagged(out, |out| out.put_u32(80_877_103));
}

pub fn cancel_request(pid: i32, secret: i32, out: &mut BytesMut) {
    untagged(out, |out| {
        out.put_u32(80_877_102);
        out.put_i32(pid);
        out.put_i32(secret);
    });
}
