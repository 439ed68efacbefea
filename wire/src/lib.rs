//! PostgreSQL's wire protocol as data: nothing here does I/O.
//!
//! A reply's way through this crate, when it cannot simply be relayed:
//!
//! 1. [`frames`] cuts the bytes a backend sent into frames, without copying.
//! 2. [`backend::decode`] reads the RowDescription; [`rows`] turns the DataRows into Arrow batches and IPC bytes.
//! 3. Whoever merges works on Arrow; [`numeric`] computes on PostgreSQL's own numeric format, exactly.
//! 4. [`encode`] prints the merged batches as DataRows, digit for digit as PostgreSQL would.
//!
//! [`frontend`] reads and writes what clients send, [`backend`] what servers send, and [`scram`] is the server's side of
//! password authentication.

pub mod backend;
mod cursor;
pub mod encode;
pub mod frames;
pub mod frontend;
pub mod numeric;
pub mod rows;
pub mod scram;

/// OIDs of the built-in types that this crate treats by name (`pg_type.oid`, the same in every PostgreSQL).
pub mod oid {
    pub const BOOL: u32 = 16;
    pub const BYTEA: u32 = 17;
    pub const NAME: u32 = 19;
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT4: u32 = 23;
    pub const TEXT: u32 = 25;
    pub const OID: u32 = 26;
    pub const FLOAT4: u32 = 700;
    pub const FLOAT8: u32 = 701;
    pub const BPCHAR: u32 = 1042;
    pub const VARCHAR: u32 = 1043;
    pub const DATE: u32 = 1082;
    pub const TIME: u32 = 1083;
    pub const TIMESTAMP: u32 = 1114;
    pub const TIMESTAMPTZ: u32 = 1184;
    pub const NUMERIC: u32 = 1700;
    pub const UUID: u32 = 2950;
}
