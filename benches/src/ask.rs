//! One session that asks queries and does not wait for ever.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use atoll_tests::Target;
use atoll_tests::client::Client;
use atoll_tests::message::Messages;
use atoll_tests::outcome::Outcome;
use atoll_tests::wire::Wire;

/// An answer and the seconds it took.
#[derive(Debug)]
pub struct Answer {
    pub seconds: f64,
    pub outcome: Outcome,
}

/// A session in the database `app`.
#[derive(Debug)]
pub struct Asker<'a> {
    target: &'a Target,
    client: Client,
}

impl Asker<'_> {
    /// # Errors
    /// When the server cannot be reached.
    pub fn new(target: &Target) -> Result<Asker<'_>> {
        Ok(Asker { target, client: Client::connect(target, "app")? })
    }

    /// The answer or, when there is none, why; a query that takes longer than `seconds_max` is cancelled.
    ///
    /// # Errors
    /// When the connection fails, or the server does not heed the cancel.
    pub fn ask(&mut self, sql: &str, seconds_max: u64) -> Result<Result<Answer, String>> {
        let begun = Instant::now();
        self.client.wire().send(Messages::new().query(sql).bytes())?;
        let is_in_time = self.client.wire().tag_comes_within(b'Z', Duration::from_secs(seconds_max))?;
        let seconds = begun.elapsed().as_secs_f64();
        if !is_in_time {
            let (pid, secret) = self.client.cancel_key.context("a server without cancels")?;
            Wire::connect(self.target)?.send(Messages::new().cancel(pid, secret).bytes())?;
        }
        let mut outcome = Outcome::default();
        for frame in self.client.wire().frames_until(b'Z')? {
            outcome.absorb(frame)?;
        }
        ensure!(outcome.status == b'I', "{} closed the connection: {sql}", self.target.label);
        Ok(match &outcome.error {
            _ if !is_in_time => Err(format!("over {seconds_max} s")),
            Some(error) => Err(error.to_string()),
            None => Ok(Answer { seconds, outcome }),
        })
    }
}

#[cfg(test)]
mod tests {
    use atoll_tests::plain::PlainServer;

    use super::*;

    #[test]
    fn the_session_goes_on_after_what_took_too_long() -> Result<()> {
        let plain = PlainServer::start()?;
        let mut asker = Asker::new(plain.target())?;
        assert_eq!(asker.ask("SELECT pg_sleep(30)", 1)?.err(), Some("over 1 s".to_owned()));
        assert!(asker.ask("SELECT 1 / 0", 30)?.is_err_and(|reason| reason.contains("22012")));
        let answer = asker.ask("SELECT 1", 30)?;
        assert!(answer.is_ok_and(|answer| answer.outcome.value().is_ok_and(|value| value == "1")));
        Ok(())
    }
}
