//! COPY of TPC-H's tables, generated beforehand, as one client sends it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use atoll_demo::rows::{Rows, rows};
use atoll_tests::Target;
use atoll_tests::client::Client;
use atoll_tests::message::Messages;
use atoll_tests::outcome::ServerError;

use crate::servers::{Servers, execute};

/// Bytes of one CopyData message, about what psql sends.
const PIECE_BYTES: usize = 8 * 1024;
const COPY_MAX: Duration = Duration::from_secs(600);

const TABLE: &str = "CREATE TABLE lineitem (
    l_orderkey int8 NOT NULL, l_partkey int8 NOT NULL, l_suppkey int8 NOT NULL, l_linenumber int4 NOT NULL,
    l_quantity numeric(15,2) NOT NULL, l_extendedprice numeric(15,2) NOT NULL, l_discount numeric(15,2) NOT NULL, l_tax numeric(15,2) NOT NULL,
    l_returnflag char(1) NOT NULL, l_linestatus char(1) NOT NULL, l_shipdate date NOT NULL, l_commitdate date NOT NULL, l_receiptdate date NOT NULL,
    l_shipinstruct char(25) NOT NULL, l_shipmode char(10) NOT NULL, l_comment varchar(44) NOT NULL,
    PRIMARY KEY (l_orderkey, l_linenumber))";

/// Creates the empty table on both servers.
///
/// # Errors
/// When that fails.
pub fn create(servers: &Servers) -> Result<()> {
    servers.both().into_iter().try_for_each(|target| execute(target, TABLE))?;
    servers.on_cluster("SELECT create_distributed_table('lineitem', 'l_orderkey')")
}

/// A table's rows in COPY's text format, already cut into CopyData messages.
#[derive(Debug)]
pub struct Load {
    table: &'static str,
    messages: Vec<Messages>,
    rows: u64,
    bytes: u64,
}

impl Load {
    /// Generates one of TPC-H's tables.
    #[must_use]
    pub fn generate(table: &'static str, scale: f64) -> Load {
        let Rows { chunks, count: rows, bytes } = rows(table, scale);
        // Many messages per write, so that what is measured is the server and not this client's system calls.
        let messages =
            chunks.iter().map(|chunk| chunk.chunks(PIECE_BYTES).fold(Messages::new(), Messages::copy_data)).collect();
        Load { table, messages, rows, bytes }
    }

    /// What [`Load::copy`] sends in all.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.messages.iter().map(|messages| messages.bytes().len() as u64).sum()
    }

    /// Sends the rows; `sent` is told of bytes as they go. The seconds it took.
    ///
    /// # Errors
    /// When the server refuses a row or does not take them all.
    pub fn copy(&self, target: &Target, mut sent: impl FnMut(u64)) -> Result<f64> {
        let mut client = Client::connect(target, "app")?;
        client.wire().wait_max = COPY_MAX;
        let begun = Instant::now();
        client.wire().send(Messages::new().query(&format!("COPY {} FROM STDIN", self.table)).bytes())?;
        let first = client.frame()?.context("the server closed the connection")?;
        if first.tag == b'E' {
            bail!("COPY on {}: {}", target.label, ServerError::parse(first.body)?);
        }
        for messages in &self.messages {
            client.wire().send(messages.bytes())?;
            sent(messages.bytes().len() as u64);
        }
        client.wire().send(Messages::new().copy_done().bytes())?;
        let mut tag = String::new();
        for frame in client.wire().frames_until(b'Z')? {
            match frame.tag {
                b'E' => bail!("COPY on {}: {}", target.label, ServerError::parse(frame.body)?),
                b'C' => tag = String::from_utf8_lossy(&frame.body).trim_end_matches('\0').to_owned(),
                _ => {}
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        ensure!(tag == format!("COPY {}", self.rows), "{} answers {tag:?}, not COPY {}", target.label, self.rows);
        Ok(seconds)
    }

    /// Loads the rows into the emptied table; megabytes (10^6 bytes) per second.
    ///
    /// # Errors
    /// As for [`Load::copy`].
    pub fn throughput(&self, target: &Target) -> Result<f64> {
        execute(target, &format!("TRUNCATE {}", self.table))?;
        let seconds = self.copy(target, |_| {})?;
        #[expect(clippy::cast_precision_loss, reason = "a size in bytes is far below 2^52")]
        let megabytes = self.bytes as f64 / 1e6;
        Ok(megabytes / seconds)
    }
}

#[cfg(test)]
mod tests {
    use atoll_tests::plain::PlainServer;

    use super::*;

    #[test]
    fn plain_postgres_takes_every_row() -> Result<()> {
        let plain = PlainServer::start()?;
        execute(plain.target(), TABLE)?;
        let lineitem = Load::generate("lineitem", 0.001);
        for _ in 0..2 {
            assert!(lineitem.throughput(plain.target())? > 0.0);
        }
        let count = Client::connect(plain.target(), "app")?.simple("SELECT count(*) FROM lineitem")?.value()?;
        assert_eq!(count, lineitem.rows.to_string());
        Ok(())
    }
}
