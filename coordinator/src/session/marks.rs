//! The values of marks in planned texts ([`atoll_planner::marks`]): when the transaction began, which is the same wherever its statements
//! run, and what only the catalog database knows.

use std::borrow::Cow;
use std::sync::Arc;

use atoll_planner::marks::{Asked, has_marks, marks, resolve};
use atoll_planner::quote_literal;

use super::Session;
use crate::error::{Error, Result};
use crate::place::Place;

/// Asks for the start of the transaction in a form that is read alike under every DateStyle.
const START: &str =
    "SELECT pg_catalog.to_char(pg_catalog.now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00'";

/// Whose clock tells when a transaction began.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// Nobody has asked yet.
    #[default]
    Unread,
    /// This place's backend, which statements there ask themselves.
    Of(Place),
    /// The same (or none of the transaction's), and what it said.
    Read(Option<Place>, Arc<str>),
}

impl Session {
    /// A marked text for one place.
    ///
    /// # Errors
    /// PostgreSQL's own; 0A000 for a value that means nothing outside the catalog database.
    pub async fn text_at<'s>(&mut self, place: Place, sql: &'s str) -> Result<Cow<'s, str>> {
        if !has_marks(sql) {
            return Ok(Cow::Borrowed(sql));
        }
        let time = if tells_time(sql) { self.time_at(place).await? } else { None };
        self.filled(sql, time).await
    }

    /// A marked text for one of several places that a statement runs at.
    ///
    /// # Errors
    /// As [`Session::text_at`].
    pub async fn text_everywhere<'s>(&mut self, sql: &'s str) -> Result<Cow<'s, str>> {
        if !has_marks(sql) {
            return Ok(Cow::Borrowed(sql));
        }
        let time = if tells_time(sql) { Some(self.time_everywhere().await?) } else { None };
        self.filled(sql, time).await
    }

    /// A marked text of which only the shape of its answer counts.
    ///
    /// # Errors
    /// As [`Session::text_at`].
    pub async fn text_to_describe<'s>(&mut self, sql: &'s str) -> Result<Cow<'s, str>> {
        if !has_marks(sql) {
            return Ok(Cow::Borrowed(sql));
        }
        self.filled(sql, None).await
    }

    /// Whether a marked text would be sent to a place as the client wrote it; the place's clock is the transaction's from now on, when
    /// none was before.
    pub fn is_plain_at(&mut self, place: Place, marked: &str) -> bool {
        if marks(marked).any(|mark| mark.asked == Asked::Catalog) {
            return false;
        }
        let Some(transaction) = self.transaction.as_mut().filter(|_| tells_time(marked)) else { return true };
        match &transaction.clock {
            Clock::Unread => {
                transaction.clock = Clock::Of(place);
                true
            }
            Clock::Of(own) | Clock::Read(Some(own), _) => *own == place,
            Clock::Read(None, _) => false,
        }
    }

    async fn time_at(&mut self, place: Place) -> Result<Option<Arc<str>>> {
        if let Some(time) = &self.work.time {
            return Ok(Some(time.clone()));
        }
        let Some(transaction) = &mut self.transaction else { return Ok(None) };
        match &transaction.clock {
            Clock::Unread => transaction.clock = Clock::Of(place),
            Clock::Of(own) | Clock::Read(Some(own), _) if *own == place => {}
            _ => return self.time_everywhere().await.map(Some),
        }
        Ok(None)
    }

    /// When the transaction began (or the statement, outside of one), for all places.
    ///
    /// # Errors
    /// PostgreSQL's own.
    pub async fn time_everywhere(&mut self) -> Result<Arc<str>> {
        if let Some(time) = &self.work.time {
            return Ok(time.clone());
        }
        let place = match self.transaction.as_ref().map(|transaction| &transaction.clock) {
            Some(Clock::Read(_, time)) => {
                self.work.time = Some(time.clone());
                return Ok(time.clone());
            }
            Some(Clock::Of(place)) => Some(*place),
            Some(Clock::Unread) => {
                let participants = self.transaction.iter().flat_map(|transaction| &transaction.participants);
                participants.map(|participant| participant.place).next()
            }
            None => None,
        };
        let path = self.plain_path();
        let sets = match place {
            Some(place) => self.run_at(place, &path, START, false).await?,
            None => self.question(START).await?,
        };
        let time: Arc<str> =
            sets.first().ok_or_else(|| Error::internal("a backend did not tell the time"))?.scalar()?.into();
        if let Some(transaction) = &mut self.transaction {
            transaction.clock = Clock::Read(place, time.clone());
        }
        self.work.time = Some(time.clone());
        Ok(time)
    }

    async fn filled<'s>(&mut self, sql: &'s str, time: Option<Arc<str>>) -> Result<Cow<'s, str>> {
        for mark in marks(sql).filter(|mark| mark.asked == Asked::Catalog) {
            if !self.work.told.contains_key(mark.original) {
                let value = self.ask_catalog(mark.original).await?;
                self.work.told.insert(mark.original.to_owned(), value);
            }
        }
        let told = &self.work.told;
        Ok(resolve(sql, |mark| match mark.asked {
            Asked::Clock => time.as_deref().map(quote_literal),
            Asked::Catalog => told.get(mark.original).cloned(),
        }))
    }

    /// The value of an expression in the catalog database, as a constant.
    async fn ask_catalog(&mut self, expression: &str) -> Result<String> {
        let path = self.plain_path();
        let sql = format!("SELECT ({expression})::text, pg_catalog.pg_typeof({expression})::text");
        let row = self.ask_home(&sql, &path).await?;
        let [value, Some(type_name)] =
            <[Option<String>; 2]>::try_from(row).map_err(|_| Error::internal("the catalog answered oddly"))?
        else {
            return Err(Error::internal("an expression without a type"));
        };
        if type_name.starts_with("reg") && value.is_some() {
            // Objects that users made have other numbers, and other places, in each group.
            let sql = format!("SELECT ({expression})::pg_catalog.oid::bigint < 16384");
            let builtin = self.ask_home(&sql, &path).await?;
            if builtin.first().cloned().flatten().as_deref() != Some("t") {
                return Err(Error::unsupported(
                    format!("a value of type {type_name} cannot be used in a statement on distributed tables"),
                    "Objects have other numbers on each server.",
                    "Cast it to text or oid, or ask for it in a statement of its own.",
                ));
            }
        }
        Ok(match value {
            Some(value) => format!("CAST({} AS {type_name})", quote_literal(&value)),
            None => format!("CAST(NULL AS {type_name})"),
        })
    }
}

fn tells_time(sql: &str) -> bool {
    marks(sql).any(|mark| mark.asked == Asked::Clock)
}
