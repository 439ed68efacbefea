//! What servers send: builders (append to a buffer), and decoders in [`decode`].
//!
//! A string with a zero byte inside ends there: the protocol cannot carry one.

mod build;
pub mod decode;
mod error_fields;

pub use build::{
    authentication_ok, authentication_sasl, authentication_sasl_continue, authentication_sasl_final, backend_key_data,
    bind_complete, close_complete, command_complete, copy_data, copy_done, copy_in_response, copy_out_response,
    data_row, empty_query_response, error_response, negotiate_protocol_version, no_data, notice_response,
    parameter_description, parameter_status, parse_complete, portal_suspended, ready_for_query, row_description,
};
pub use error_fields::ErrorFields;

/// Message types of the server's side.
pub mod tag {
    pub const AUTHENTICATION: u8 = b'R';
    pub const BACKEND_KEY_DATA: u8 = b'K';
    pub const BIND_COMPLETE: u8 = b'2';
    pub const CLOSE_COMPLETE: u8 = b'3';
    pub const COMMAND_COMPLETE: u8 = b'C';
    pub const COPY_BOTH_RESPONSE: u8 = b'W';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_IN_RESPONSE: u8 = b'G';
    pub const COPY_OUT_RESPONSE: u8 = b'H';
    pub const DATA_ROW: u8 = b'D';
    pub const EMPTY_QUERY_RESPONSE: u8 = b'I';
    pub const ERROR_RESPONSE: u8 = b'E';
    pub const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';
    pub const NO_DATA: u8 = b'n';
    pub const NOTICE_RESPONSE: u8 = b'N';
    pub const NOTIFICATION_RESPONSE: u8 = b'A';
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    pub const PARAMETER_STATUS: u8 = b'S';
    pub const PARSE_COMPLETE: u8 = b'1';
    pub const PORTAL_SUSPENDED: u8 = b's';
    pub const READY_FOR_QUERY: u8 = b'Z';
    pub const ROW_DESCRIPTION: u8 = b'T';
}

/// One column of a result, as RowDescription tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// The table it comes straight from; 0 for an expression.
    pub table_oid: u32,
    /// Its number in that table; 0 for an expression.
    pub attribute: i16,
    pub type_oid: u32,
    /// `pg_type.typlen`; negative for variable length.
    pub type_len: i16,
    /// `pg_attribute.atttypmod`; -1 for none.
    pub typmod: i32,
    /// 0 text, 1 binary.
    pub format: i16,
}

#[cfg(test)]
mod tests;
