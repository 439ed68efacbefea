//! COPY of TPC-H's lineitem, generated beforehand, as one client sends it.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use atoll_tests::Target;
use atoll_tests::client::Client;
use atoll_tests::message::Messages;
use atoll_tests::outcome::ServerError;
use tpchgen::generators::LineItemGenerator;

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

/// The rows in COPY's text format, already cut into CopyData messages.
#[derive(Debug)]
pub struct Lineitem {
    messages: Vec<Messages>,
    rows: usize,
    bytes: usize,
}

impl Lineitem {
    /// Generates the table at a TPC-H scale.
    ///
    /// # Errors
    /// When a row cannot be formatted.
    pub fn generate(scale: f64) -> Result<Lineitem> {
        let mut text = String::new();
        let mut rows = 0;
        for line in LineItemGenerator::new(scale, 1, 1).iter() {
            writeln!(
                text,
                "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
                line.l_orderkey,
                line.l_partkey,
                line.l_suppkey,
                line.l_linenumber,
                line.l_quantity,
                line.l_extendedprice,
                line.l_discount,
                line.l_tax,
                line.l_returnflag,
                line.l_linestatus,
                line.l_shipdate,
                line.l_commitdate,
                line.l_receiptdate,
                line.l_shipinstruct,
                line.l_shipmode,
                line.l_comment
            )?;
            rows += 1;
        }
        // Many messages per write, so that what is measured is the server and not this client's system calls.
        let messages = text
            .as_bytes()
            .chunks(PIECE_BYTES * 32)
            .map(|pieces| pieces.chunks(PIECE_BYTES).fold(Messages::new(), Messages::copy_data))
            .collect();
        Ok(Lineitem { messages, rows, bytes: text.len() })
    }

    /// Loads the rows into the emptied table; megabytes (10^6 bytes) per second.
    ///
    /// # Errors
    /// When the server refuses a row or does not take them all.
    pub fn load(&self, target: &Target) -> Result<f64> {
        execute(target, "TRUNCATE lineitem")?;
        let mut client = Client::connect(target, "app")?;
        client.wire().wait_max = COPY_MAX;
        let begun = Instant::now();
        client.wire().send(Messages::new().query("COPY lineitem FROM STDIN").bytes())?;
        let first = client.frame()?.context("the server closed the connection")?;
        if first.tag == b'E' {
            bail!("COPY on {}: {}", target.label, ServerError::parse(first.body)?);
        }
        for messages in &self.messages {
            client.wire().send(messages.bytes())?;
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
        let lineitem = Lineitem::generate(0.001)?;
        for _ in 0..2 {
            assert!(lineitem.load(plain.target())? > 0.0);
        }
        let count = Client::connect(plain.target(), "app")?.simple("SELECT count(*) FROM lineitem")?.value()?;
        assert_eq!(count, lineitem.rows.to_string());
        Ok(())
    }
}
