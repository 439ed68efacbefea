//! The fast path of the protocol: calls of functions by number, which libpq and drivers use for large objects.

use std::collections::VecDeque;

use atoll_planner::plan::{Access, Residue};
use atoll_wire::frames::Frame;

use super::Session;
use super::reads::Route;
use super::relay::{CopyEnd, Expect};
use crate::error::{Error, Loss, Result};
use crate::place::Place;

/// PostgreSQL's own functions on large objects, by OID (pg_proc.dat): large objects are at home.
const LARGE_OBJECTS: [u32; 20] =
    [715, 764, 765, 767, 952, 953, 954, 955, 956, 957, 958, 964, 1004, 3170, 3171, 3172, 3457, 3458, 3459, 3460];

impl Session {
    /// Answers a FunctionCall message, up to its ReadyForQuery.
    ///
    /// # Errors
    /// What ends the session.
    pub(super) async fn function_call(&mut self, frame: &Frame) -> Result<()> {
        let outcome = self.call_at_home(frame).await;
        self.conclude(outcome).await
    }

    async fn call_at_home(&mut self, frame: &Frame) -> Result<()> {
        let body = frame.body_slice();
        let function = body.first_chunk().map(|oid| u32::from_be_bytes(*oid));
        if !function.is_some_and(|oid| LARGE_OBJECTS.contains(&oid)) {
            return Err(Error::unsupported(
                "the fast-path function call protocol is supported for large objects only",
                "A call by number does not say on which server the function's data is.",
                "Call the function with SELECT.",
            ));
        }
        self.check_not_failed()?;
        self.route = Route::Primary;
        let path = self.plain_path();
        loop {
            let (mut held, prelude) = self.hold(Place::HOME, &path).await?;
            let mut due: VecDeque<Expect> = (0..prelude.ready).map(|_| Expect::Prelude).collect();
            due.push_back(Expect::Query);
            let mut out = prelude.frames;
            out.extend_from_slice(&frame.raw);
            match self.exchange(&mut held, out.freeze(), due, CopyEnd::Done, None).await {
                Err(error) if prelude.is_fresh && error.loss() == Some(Loss::Unsent) => {
                    self.give_up(held);
                    self.wait_for_another(&error).await?;
                }
                relayed => return self.after_relay(held, relayed, "", Access::Write, Residue::Clean).await,
            }
        }
    }
}
