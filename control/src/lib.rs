//! Who may be a group's primary: what is recorded of a group, where that is kept, and what a node does about it.
//!
//! [`record`] is what all members of a group agree on; [`store`] keeps it, with the leases, in etcd or in the [`arbiter`]; [`quorum`] says
//! which changes of the synchronous set are safe; [`decide`] is what one node does next, as a pure function of what it sees.

pub mod arbiter;
pub mod clock;
pub mod decide;
pub mod quorum;
pub mod record;
pub mod store;
