//! Queries over several shards: what each shard computes, and the query over that.

use serde::Serialize;

use super::{Access, Keys, Piece, Residue, Template};
use crate::directory::{ColocationId, TableName};
use crate::marks;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gather {
    pub merge: Merge,
    pub access: Access,
    pub residue: Residue,
}

/// Fragments and the query over them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Merge {
    pub fragments: Vec<Fragment>,
    /// PostgreSQL SQL over the fragments' names, the same for both merge engines. Parameters keep their numbers.
    pub sql: String,
    /// Whether the DataFusion engine may be tried: the merge holds nothing the planner knows to be outside it.
    pub datafusion: bool,
    /// Relations of the merge query that the catalog database has.
    pub catalog: Vec<CatalogRows>,
    /// The query for DataFusion, where it is another than `sql`.
    pub joined: Option<Joined>,
    /// The same answer from fewer rows, where one fragment's rows often have equal columns.
    pub grouped: Option<Grouped>,
}

/// A merge in which one fragment arrives grouped, with partial aggregates.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grouped {
    /// The position of the fragment that is another one.
    pub fragment: usize,
    pub merge: Box<Merge>,
}

/// A merge query that reads nothing but inputs, and leaves out what their queries test.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Joined {
    pub sql: String,
    /// Tables at home that it reads beside the fragments.
    pub home: Vec<HomeRows>,
}

/// A table at home as an input.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HomeRows {
    /// The relation's name in the merge query.
    pub name: String,
    /// Every relation in it is qualified. May hold marks.
    pub sql: String,
    pub columns: Vec<FragmentColumn>,
}

/// A system catalog, or a view over nothing but them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CatalogRows {
    /// The relation's name in the merge query.
    pub name: String,
    pub relation: TableName,
    /// Names among which the needed columns are; `None`: all are needed.
    pub columns: Option<Vec<String>>,
}

impl Merge {
    /// Whether any of its texts is marked for when the transaction began.
    pub fn tells_time(&self) -> bool {
        let clock = |sql: &str| marks::marks(sql).any(|mark| mark.asked == marks::Asked::Clock);
        clock(&self.sql)
            || self.fragments.iter().flat_map(|fragment| &fragment.arm.pieces).any(|piece| match piece {
                Piece::Text(text) => clock(text),
                Piece::Slice(_) => false,
            })
    }
}

/// One relation of the merge query, computed by the shards: one arm per shard, UNION ALL.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fragment {
    /// The relation's name in the merge query.
    pub name: String,
    pub colocation: ColocationId,
    pub keys: Keys,
    /// `SELECT ...` for one shard; every relation in it is qualified, so that it runs under any search_path.
    pub arm: Template,
    /// Names of its columns, in order.
    pub columns: Vec<FragmentColumn>,
    /// Columns by which a correlated subquery looks its rows up, again and again: worth an index where the rows are staged.
    pub looked_up_by: Vec<String>,
    /// Its table's primary key, where PostgreSQL needs it to take the merge query: GROUP BY names it, other columns of the table are used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary_key: Option<Vec<String>>,
    /// Where keys are that its rows must have to matter, once other fragments are there.
    pub joined_by: Vec<JoinedBy>,
}

/// Only rows whose column has one of these values can matter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JoinedBy {
    /// The fragment's own column.
    pub column: String,
    pub type_oid: u32,
    /// A query of one column over other fragments.
    pub keys: String,
    /// Positions of those fragments.
    pub needs: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FragmentColumn {
    pub name: String,
    /// The merge only passes it on to the client: it may travel as PostgreSQL printed it.
    pub passed_on: bool,
    /// Text in it is ordered and compared by its bytes.
    pub bytewise_collation: bool,
    /// Type and collation, as a table's column would be declared; `None` when only its description tells.
    pub definition: Option<String>,
}
