//! The directory and everything that keeps the coordinator's knowledge of the cluster: which table is where, roles, nodes, and the
//! control side's own work on the servers (creating databases, finishing distributed transactions).

mod admission;
pub mod bootstrap;
mod catalog;
mod control;
pub mod group_calls;
mod keeper;
pub mod leaders;
pub mod nodes;
pub mod outcome;
pub mod recovery;
mod role_copies;
pub mod roles;
pub mod rows;
pub mod sizes;
pub mod store;
pub mod virtual_relations;
mod words;

pub use control::Control;
pub use keeper::{DIRECTORY_DATABASE, Keeper, KeeperSettings};
