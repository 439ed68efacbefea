//! The coordinator: clients speak PostgreSQL to it, and many PostgreSQL servers answer as one.
//!
//! The life of a query:
//!
//! 1. [`listener`] accepts the client and hands it to a [`worker`], a thread that keeps it for good.
//! 2. [`session`] reads messages. A statement's text finds its plan in [`plans`] (or is planned by `atoll_planner` against the
//!    [`facts`] of its database: directory and catalog at one version).
//! 3. Its keys' values lead to shards ([`execute::route`]).
//! 4. One backend can answer: a [`lane`] from the [`pool`] carries the client's own frames there and back (`session::relay`).
//! 5. Otherwise [`execute`] scatters fragments over the groups and merges what comes back, or writes in several places; [`ddl`] changes
//!    what exists. A transaction over several places ends in `session::transaction`.
//!
//! Beside it the [`directory`] keeps what is known of the cluster, finishes what a dead coordinator left, and answers [`admin`].

pub mod admin;
pub mod cluster;
pub mod config;
pub mod ddl;
mod direct;
pub mod directory;
pub mod drain;
pub mod error;
pub mod execute;
pub mod facts;
pub mod lane;
pub mod listener;
pub mod place;
pub mod plans;
pub mod pool;
pub mod routing;
pub mod session;
pub mod worker;
