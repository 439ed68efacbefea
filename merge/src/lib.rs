//! The merge query in DataFusion, exactly as PostgreSQL would compute it, or not at all.
//!
//! A merge's way:
//!
//! 1. [`Engine::check`] parses the SQL and types every expression as PostgreSQL does (`query`, `compile`). Only what is on the
//!    [`verified`] list passes; anything else is [`Unsupported`], and the coordinator lets PostgreSQL run the merge.
//! 2. [`Prepared::bind`] reads the parameters' values.
//! 3. [`Engine::execute`] builds DataFusion operators by hand (`physical`) over the fragments' streams: its scan, filter, projection, hash
//!    join, hash aggregation, sort, limit and union. All that computes or compares is ours: expressions (`expr`, `kernels`), aggregates
//!    (`aggregate`), and keys in which Arrow's equality and order are PostgreSQL's (`keys`).
//! 4. [`MergeStream`] yields batches with PostgreSQL's types as metadata, for `atoll_wire::encode`.
//!
//! DataFusion's SQL planner, optimizer, functions and type coercion are not used: their answers differ from PostgreSQL's.

mod aggregate;
mod calls;
mod clauses;
mod compile;
mod datum;
mod engine;
mod error;
mod expr;
mod join;
mod kernels;
mod keys;
mod memory;
mod physical;
mod physical_join;
mod query;
mod row_expr;
mod simplify;
mod type_names;
mod types;
pub mod verified;

pub use datafusion::arrow;
pub use engine::{Bound, Engine, EngineOptions, InputRows, InputStream, MergeStream, Parameter, Prepared, Reservation};
pub use error::{InputError, MergeError, SqlError, Unsupported};
pub use query::{InputColumn, InputSchema};
pub use types::PgType;
