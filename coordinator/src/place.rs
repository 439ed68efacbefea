//! Where SQL can run: a group and one of the databases there; and the seam between those who decide what to run in a transaction
//! (DDL, distribution) and the session's transaction that runs it.

use async_trait::async_trait;
use atoll_planner::directory::{Directory, GroupIndex};

use crate::error::Result;
use crate::lane::ResultSet;

/// A database of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `app_data`: rows. Home's holds the decisions of distributed transactions.
    Data,
    /// `app`: the catalog database, on home only.
    Catalog,
    /// `atoll`: the directory, on home only.
    Directory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub group: GroupIndex,
    pub kind: Kind,
}

impl Place {
    pub const CATALOG: Self = Self { group: Directory::HOME, kind: Kind::Catalog };
    pub const DIRECTORY: Self = Self { group: Directory::HOME, kind: Kind::Directory };
    pub const HOME: Self = Self { group: Directory::HOME, kind: Kind::Data };

    pub fn data(group: GroupIndex) -> Self {
        Self { group, kind: Kind::Data }
    }

    /// The database's name there, for a logical database.
    pub fn database(self, logical: &str) -> String {
        match self.kind {
            Kind::Data => format!("{logical}_data"),
            Kind::Catalog => logical.to_owned(),
            Kind::Directory => "atoll".to_owned(),
        }
    }
}

/// A transaction over several places: each joins when it is first used, all commit together or not at all.
#[async_trait]
pub trait Participants: Send {
    /// Runs SQL at a place inside the transaction (a savepoint's rollback undoes it, like PostgreSQL's own), as the client's role (in the
    /// directory: as the superuser), with the client's search_path replaced by `search_path` when given (text as after
    /// `SET search_path =`). Marks the place as written. In data databases the DDL guard is lifted for this transaction.
    ///
    /// # Errors
    /// PostgreSQL's own error, after which the transaction is failed; 57P03 when the place cannot be reached.
    async fn run(&mut self, place: Place, search_path: Option<&str>, sql: &str) -> Result<Vec<ResultSet>>;

    /// Runs one statement of Atoll's own with the superuser's rights on the same backend, through `atoll.run` (SECURITY DEFINER,
    /// guarded by the cluster's secret): for what the client's role may not do itself, such as creating a shard's schema.
    ///
    /// # Errors
    /// As [`Participants::run`].
    async fn run_privileged(&mut self, place: Place, sql: &str) -> Result<()>;

    /// Copies the rows of `SELECT`-like `source` (SQL for COPY (…) TO STDOUT BINARY) at one place into `COPY target FROM STDIN BINARY` at another,
    /// streaming; returns the number of rows.
    ///
    /// # Errors
    /// As [`Participants::run`].
    async fn copy_between(&mut self, from: (Place, &str), to: (Place, &str)) -> Result<u64>;
}

/// Statements that PostgreSQL refuses inside a transaction block: each commits by itself.
#[async_trait]
pub trait Autocommit: Send {
    /// Runs one statement outside any transaction block, under `search_path` when given: as the client's role, or as the superuser with
    /// event triggers off (`session_replication_role = replica`; the DDL guard's pass is worth nothing across transactions). In the
    /// directory always as the superuser.
    ///
    /// # Errors
    /// PostgreSQL's own error; 57P03 when the place cannot be reached.
    async fn run_alone(
        &mut self,
        place: Place,
        as_superuser: bool,
        search_path: Option<&str>,
        sql: &str,
    ) -> Result<Vec<ResultSet>>;

    /// Creates a logical database, with CREATE DATABASE's options as the client wrote them.
    ///
    /// # Errors
    /// PostgreSQL's own; 57P03 when a group cannot be reached. Nothing is left behind.
    async fn create_database(&mut self, name: &str, options: &str) -> Result<()>;

    /// Drops a logical database; false when there is none and `if_exists`.
    ///
    /// # Errors
    /// 55006 when sessions use it (unless `force`), 3D000 when there is none, 42501; 57P03 when a group cannot be reached.
    async fn drop_database(&mut self, name: &str, if_exists: bool, force: bool) -> Result<bool>;
}
