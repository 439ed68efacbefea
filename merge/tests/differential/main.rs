//! The merge engine against a plain PostgreSQL: the same SQL over the same rows must give the same columns, rows and errors.

mod engine;
mod joins;
mod lab;
mod lists;
mod merges;
mod values;
