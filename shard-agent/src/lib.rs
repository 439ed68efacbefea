//! The agent of one node: it keeps one PostgreSQL running and lets coordinators at its backends.
//!
//! The life of a lane:
//!
//! 1. [`serve::accept`] hands a coordinator's connection to a worker: a thread with a runtime of its own.
//! 2. [`lanes::Service`] takes the call, finds a slot under the node's cap and logs a [`lanes::backend::Backend`] in over
//!    PostgreSQL's private socket, as the client's own role.
//! 3. The call's reply stream is the lane from then on: it writes the coordinator's frames to the backend and yields what
//!    comes back, whole frames, undecoded; or runs a fragment and yields its rows as Arrow.
//! 4. When the stream is dropped, for whatever reason, the backend ends: interrupted first if it is busy.
//!
//! Beside that, the [`governor`] runs PostgreSQL as its group wants it: primary while it holds the lease, replica otherwise
//! ([`postgres::Server`] does the work). Without a lease store [`postgres::keeper::Keeper`] keeps a lone primary running;
//! where Patroni runs PostgreSQL, [`patroni::Follower`] only watches.
//! [`node::Service`] reports how it is doing. The agent holds no routing knowledge: it knows nothing of shards.

pub mod agent;
pub mod governor;
pub mod lanes;
pub mod meters;
pub mod node;
pub mod patroni;
pub mod postgres;
pub mod serve;
pub mod settings;
