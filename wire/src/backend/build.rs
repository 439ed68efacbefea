//! Builders of the messages a server sends; each appends to `out`.

use bytes::{BufMut, BytesMut};

use super::{Column, ErrorFields, tag};
use crate::frames::{message, put_c_str, put_count, put_field};

pub fn authentication_ok(out: &mut BytesMut) {
    message(tag::AUTHENTICATION, out, |out| out.put_i32(0));
}

/// Offers SASL `mechanisms`, the preferred first.
pub fn authentication_sasl(mechanisms: &[&str], out: &mut BytesMut) {
    message(tag::AUTHENTICATION, out, |out| {
        out.put_i32(10);
        for mechanism in mechanisms {
            put_c_str(out, mechanism);
        }
        out.put_u8(0);
    });
}

pub fn authentication_sasl_continue(data: &[u8], out: &mut BytesMut) {
    message(tag::AUTHENTICATION, out, |out| {
        out.put_i32(11);
        out.put_slice(data);
    });
}

pub fn authentication_sasl_final(data: &[u8], out: &mut BytesMut) {
    message(tag::AUTHENTICATION, out, |out| {
        out.put_i32(12);
        out.put_slice(data);
    });
}

pub fn backend_key_data(pid: i32, secret: i32, out: &mut BytesMut) {
    message(tag::BACKEND_KEY_DATA, out, |out| {
        out.put_i32(pid);
        out.put_i32(secret);
    });
}

pub fn parameter_status(name: &str, value: &str, out: &mut BytesMut) {
    message(tag::PARAMETER_STATUS, out, |out| {
        put_c_str(out, name);
        put_c_str(out, value);
    });
}

/// `status` is `b'I'` idle, `b'T'` in a transaction, `b'E'` in a failed transaction.
pub fn ready_for_query(status: u8, out: &mut BytesMut) {
    message(tag::READY_FOR_QUERY, out, |out| out.put_u8(status));
}

pub fn row_description(columns: &[Column], out: &mut BytesMut) {
    message(tag::ROW_DESCRIPTION, out, |out| {
        put_count(out, columns.len());
        for column in columns {
            put_c_str(out, &column.name);
            out.put_u32(column.table_oid);
            out.put_i16(column.attribute);
            out.put_u32(column.type_oid);
            out.put_i16(column.type_len);
            out.put_i32(column.typmod);
            out.put_i16(column.format);
        }
    });
}

/// One row; NULL is None.
pub fn data_row<'a>(
    fields: impl IntoIterator<Item = Option<&'a [u8]>, IntoIter: ExactSizeIterator>,
    out: &mut BytesMut,
) {
    message(tag::DATA_ROW, out, |out| {
        let fields = fields.into_iter();
        put_count(out, fields.len());
        for field in fields {
            put_field(out, field);
        }
    });
}

/// `tag` as in `SELECT 3` or `INSERT 0 1`.
pub fn command_complete(tag: &str, out: &mut BytesMut) {
    message(tag::COMMAND_COMPLETE, out, |out| put_c_str(out, tag));
}

pub fn empty_query_response(out: &mut BytesMut) {
    message(tag::EMPTY_QUERY_RESPONSE, out, |_| ());
}

pub fn parse_complete(out: &mut BytesMut) {
    message(tag::PARSE_COMPLETE, out, |_| ());
}

pub fn bind_complete(out: &mut BytesMut) {
    message(tag::BIND_COMPLETE, out, |_| ());
}

pub fn close_complete(out: &mut BytesMut) {
    message(tag::CLOSE_COMPLETE, out, |_| ());
}

pub fn no_data(out: &mut BytesMut) {
    message(tag::NO_DATA, out, |_| ());
}

pub fn portal_suspended(out: &mut BytesMut) {
    message(tag::PORTAL_SUSPENDED, out, |_| ());
}

pub fn parameter_description(types: &[u32], out: &mut BytesMut) {
    message(tag::PARAMETER_DESCRIPTION, out, |out| {
        put_count(out, types.len());
        for &oid in types {
            out.put_u32(oid);
        }
    });
}

/// `format` (0 text, 1 binary) is that of the whole COPY and of each of its `columns` columns.
pub fn copy_in_response(format: u8, columns: usize, out: &mut BytesMut) {
    message(tag::COPY_IN_RESPONSE, out, |out| put_copy_formats(out, format, columns));
}

/// As [`copy_in_response`], for COPY TO STDOUT.
pub fn copy_out_response(format: u8, columns: usize, out: &mut BytesMut) {
    message(tag::COPY_OUT_RESPONSE, out, |out| put_copy_formats(out, format, columns));
}

fn put_copy_formats(out: &mut BytesMut, format: u8, columns: usize) {
    out.put_u8(format);
    put_count(out, columns);
    for _ in 0..columns {
        out.put_i16(i16::from(format));
    }
}

pub fn copy_data(data: &[u8], out: &mut BytesMut) {
    message(tag::COPY_DATA, out, |out| out.put_slice(data));
}

pub fn copy_done(out: &mut BytesMut) {
    message(tag::COPY_DONE, out, |_| ());
}

pub fn error_response(fields: &ErrorFields, out: &mut BytesMut) {
    message(tag::ERROR_RESPONSE, out, |out| put_error_fields(out, fields));
}

pub fn notice_response(fields: &ErrorFields, out: &mut BytesMut) {
    message(tag::NOTICE_RESPONSE, out, |out| put_error_fields(out, fields));
}

fn put_error_fields(out: &mut BytesMut, fields: &ErrorFields) {
    for (code, value) in fields.iter() {
        out.put_u8(code);
        put_c_str(out, value);
    }
    out.put_u8(0);
}

/// Tells the client the newest minor protocol version of 3 that is spoken here, and which of its `_pq_.` options are unknown.
pub fn negotiate_protocol_version(minor: u16, unknown_options: &[&str], out: &mut BytesMut) {
    message(tag::NEGOTIATE_PROTOCOL_VERSION, out, |out| {
        // PostgreSQL 15 sends the whole version, major in the high half.
        out.put_u32((3 << 16) | u32::from(minor));
        out.put_i32(i32::try_from(unknown_options.len()).expect("a startup packet holds few options"));
        for option in unknown_options {
            put_c_str(out, option);
        }
    });
}
