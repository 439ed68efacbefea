//! Reads that replicas may answer: which node takes one.
//!
//! [`targets`] is what is known of every node that could, from the agents' health streams; [`probe`] asks each of them a few times a second
//! while somebody wants to know; [`health`] says who is to be left alone for a while; [`choice`] picks one; [`position`] is
//! what a session must find there, for it to read what it has written.

pub mod choice;
pub mod health;
pub mod position;
mod probe;
pub mod targets;

pub use choice::Preference;
pub use position::{Floors, Position, Positions};
pub use probe::run;
pub use targets::{Choice, Routing, Target, Wants};
