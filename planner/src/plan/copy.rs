//! COPY.

use serde::Serialize;

use super::{Plan, Site};
use crate::directory::{ColocationId, KeyType, TableName};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Copy {
    pub direction: CopyDirection,
    pub target: CopyTarget,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum CopyDirection {
    In,
    Out,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum CopyTarget {
    /// One backend does it all: relay.
    Site(Site),
    /// A distributed table.
    Distributed {
        table: TableName,
        colocation: ColocationId,
        key_type: KeyType,
        /// The columns in the order of the data.
        columns: Vec<String>,
        /// Where the key stands among them; `None` when it is left out (23502 unless it has a default).
        key_index: Option<usize>,
        /// Defaults the coordinator has to compute for columns that are left out (sequences): column and expression.
        computed: Vec<(String, String)>,
        options: CopyOptions,
        /// WHERE of COPY FROM, as text.
        filter: Option<String>,
    },
    /// A reference table: COPY FROM goes to every group.
    Reference { table: TableName },
    /// COPY (query) TO where the query is itself planned.
    Query(Box<Plan>, CopyOptions),
}

/// The options of COPY that shape the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CopyOptions {
    pub format: CopyFormat,
    pub delimiter: u8,
    pub null: String,
    pub quote: u8,
    pub escape: u8,
    pub header: CopyHeader,
    pub freeze: bool,
    /// The options to repeat in a shard's own COPY, as text inside `WITH (...)`, header left out.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum CopyFormat {
    Text,
    Csv,
    Binary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum CopyHeader {
    No,
    Yes,
    Match,
}
