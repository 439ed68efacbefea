//! What `atoll demo` and the benches share: the folder's SQL, TPC-H's rows, and a load's progress.

pub mod progress;
pub mod rows;
pub mod script;
