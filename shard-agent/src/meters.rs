//! The agent's counters, looked up once.

use metrics::{Counter, counter};

/// Handles of the data path's counters; cheap to clone.
#[derive(Clone)]
pub struct Meters {
    pub lane_opens: Counter,
    /// Bytes of frames from coordinators to PostgreSQL.
    pub bytes_in: Counter,
    /// Bytes of frames from PostgreSQL to coordinators.
    pub bytes_out: Counter,
    pub fragments: Counter,
    pub fragment_rows: Counter,
    /// Bytes of Arrow sent.
    pub fragment_bytes: Counter,
}

impl Meters {
    /// To be made after the recorder is installed.
    pub fn new() -> Self {
        Self {
            lane_opens: counter!("atoll_agent_lane_opens_total"),
            bytes_in: counter!("atoll_agent_relayed_bytes_total", "direction" => "in"),
            bytes_out: counter!("atoll_agent_relayed_bytes_total", "direction" => "out"),
            fragments: counter!("atoll_agent_fragments_total"),
            fragment_rows: counter!("atoll_agent_fragment_rows_total"),
            fragment_bytes: counter!("atoll_agent_fragment_bytes_total"),
        }
    }

    /// Counts a refused lane.
    pub fn refused(&self, sqlstate: &str) {
        counter!("atoll_agent_refused_total", "sqlstate" => sqlstate.to_owned()).increment(1);
    }
}

impl Default for Meters {
    fn default() -> Self {
        Self::new()
    }
}
