//! The gRPC contracts between coordinators, agents and the CLI.
//!
//! `lane.proto` is the data path (one backend per stream), `node.proto` the control path of one agent, `admin.proto`
//! what the CLI asks of a coordinator. Generated types keep `bytes` fields as [`bytes::Bytes`], so that relayed frames
//! are never copied on decode.

#[expect(clippy::allow_attributes, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("atoll.v1");
}

pub mod auth;
pub mod channel;
