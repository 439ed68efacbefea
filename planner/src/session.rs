//! Transaction and session commands, by their words.

use crate::plan::{Access, DiscardKind, Plan, Relay, Residue, Session, Site, Transaction};
use crate::scan::{Span, Token, TokenKind};

struct Words<'a, 't> {
    sql: &'a str,
    tokens: &'t [Token],
    at: usize,
}

impl Words<'_, '_> {
    fn word(&mut self, word: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|token| token.is_keyword(self.sql, word));
        self.at += usize::from(found);
        found
    }

    fn any(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.word(word))
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|token| token.is_symbol(self.sql, symbol));
        self.at += usize::from(found);
        found
    }

    fn name(&mut self) -> Option<String> {
        let name = self.tokens.get(self.at)?.identifier(self.sql)?.into_owned();
        self.at += 1;
        Some(name)
    }

    /// `name` or `prefix.name`
    fn setting(&mut self) -> Option<String> {
        let mut name = self.name()?;
        while self.symbol(".") {
            name.push('.');
            name.push_str(&self.name()?);
        }
        Some(name.to_ascii_lowercase())
    }

    fn is_done(&self) -> bool {
        self.at >= self.tokens.len()
    }

    /// The text from the next token to the end.
    fn rest(&self) -> Option<String> {
        let (first, last) = (self.tokens.get(self.at)?, self.tokens.last()?);
        Some(first.span.to(last.span).of(self.sql).to_owned())
    }

    /// The texts between commas in parentheses, behind the opening one; stands behind the closing one.
    fn list(&mut self) -> Option<Vec<String>> {
        let mut list = Vec::new();
        let mut depth = 1;
        let mut start = self.tokens.get(self.at)?.span.start;
        loop {
            let token = self.tokens.get(self.at)?;
            self.at += 1;
            if token.kind != TokenKind::Symbol {
                continue;
            }
            let item = Span { start, end: token.span.start };
            match token.span.of(self.sql) {
                "(" | "[" => depth += 1,
                ")" | "]" => {
                    depth -= 1;
                    if depth == 0 {
                        let last = item.of(self.sql).trim();
                        if !last.is_empty() {
                            list.push(last.to_owned());
                        }
                        return Some(list);
                    }
                }
                "," if depth == 1 => {
                    list.push(item.of(self.sql).trim().to_owned());
                    start = token.span.end;
                }
                _ => {}
            }
        }
    }
}

/// The plan; `None` when the words are not those of such a command.
pub(crate) fn plan(sql: &str, tokens: &[Token]) -> Option<Plan> {
    let mut words = Words { sql, tokens, at: 0 };
    let first = words.name()?;
    if let Some(transaction) = transaction(&first, &mut words) {
        return Some(Plan::Transaction(transaction));
    }
    let session = match first.as_str() {
        // Until the end of the transaction, and for what is at home.
        "set" if words.word("constraints") => {
            let relay =
                Relay { site: Site::Home, text: None, marked: None, access: Access::Write, residue: Residue::Clean };
            return Some(Plan::Relay(relay));
        }
        "set" => set(&mut words)?,
        "reset" => reset(&mut words)?,
        "show" => show(&mut words)?,
        "discard" => discard(&mut words)?,
        "prepare" => prepare(&mut words)?,
        "execute" => {
            let name = words.name()?;
            let arguments = if words.symbol("(") { words.list()? } else { Vec::new() };
            Session::Execute { name, arguments }
        }
        "deallocate" => {
            words.word("prepare");
            let all = words.word("all") && words.is_done();
            Session::Deallocate { name: if all { None } else { Some(words.name()?) } }
        }
        "declare" => declare(&mut words)?,
        "fetch" | "move" => {
            Session::Cursor { name: Some(tokens.last().filter(|_| tokens.len() > 1)?.identifier(sql)?.into_owned()) }
        }
        "close" => {
            let all = words.word("all");
            Session::Cursor { name: if all { None } else { Some(words.name()?) } }
        }
        "listen" => Session::Listen,
        "unlisten" => Session::Unlisten,
        "notify" => Session::Notify,
        _ => return None,
    };
    Some(Plan::Session(session))
}

fn transaction(first: &str, words: &mut Words<'_, '_>) -> Option<Transaction> {
    let at = words.at;
    let transaction = match first {
        "begin" => Some(Transaction::Begin),
        "start" if words.word("transaction") => Some(Transaction::Begin),
        "commit" if words.word("prepared") => Some(Transaction::TwoPhase("COMMIT PREPARED")),
        "commit" | "end" => {
            words.any(&["work", "transaction"]);
            chain(words).map(|chain| Transaction::Commit { chain })
        }
        "rollback" if words.word("prepared") => Some(Transaction::TwoPhase("ROLLBACK PREPARED")),
        "rollback" | "abort" => {
            words.any(&["work", "transaction"]);
            if words.word("to") {
                words.word("savepoint");
                words.name().map(Transaction::RollbackTo)
            } else {
                chain(words).map(|chain| Transaction::Rollback { chain })
            }
        }
        "savepoint" => words.name().map(Transaction::Savepoint),
        "release" => {
            words.word("savepoint");
            words.name().map(Transaction::Release)
        }
        "prepare" if words.word("transaction") => Some(Transaction::TwoPhase("PREPARE TRANSACTION")),
        "set" if words.word("transaction") => Some(Transaction::Modes),
        "set" if words.word("local") && words.word("transaction") => Some(Transaction::Modes),
        _ => None,
    };
    // Commands of more words than these are PostgreSQL's to reject.
    let complete = words.is_done()
        || matches!(transaction, Some(Transaction::Begin | Transaction::Modes | Transaction::TwoPhase(_)));
    if transaction.is_none() || !complete {
        words.at = at;
        return None;
    }
    transaction
}

/// `AND [NO] CHAIN`; `None` when something else follows.
fn chain(words: &mut Words<'_, '_>) -> Option<bool> {
    if !words.word("and") {
        return Some(false);
    }
    let no = words.word("no");
    words.word("chain").then_some(!no)
}

fn set(words: &mut Words<'_, '_>) -> Option<Session> {
    let mut local = false;
    if words.word("local") {
        local = true;
    } else if words
        .tokens
        .get(words.at + 1)
        .is_some_and(|next| !next.is_symbol(words.sql, "=") && !next.is_keyword(words.sql, "to"))
    {
        let at = words.at;
        if words.word("session") && (words.word("authorization") || words.word("characteristics")) {
            let characteristics = words.tokens[words.at - 1].is_keyword(words.sql, "characteristics");
            let name = if characteristics { "session characteristics" } else { "session_authorization" };
            return Some(Session::Set { name: name.to_owned(), local: false });
        }
        words.at = at;
        words.word("session");
    }
    let special = [
        (&["time", "zone"][..], "timezone"),
        (&["session", "authorization"], "session_authorization"),
        (&["xml", "option"], "xmloption"),
    ];
    let name = match special.iter().find(|(keywords, _)| words_follow(words, keywords)) {
        Some((_, name)) => (*name).to_owned(),
        None => {
            let name = words.setting()?;
            let assigned = words.symbol("=") || words.word("to");
            match name.as_str() {
                _ if assigned => name,
                "role" => name,
                "names" => "client_encoding".to_owned(),
                "schema" => "search_path".to_owned(),
                _ => return None,
            }
        }
    };
    Some(Session::Set { name, local })
}

fn words_follow(words: &mut Words<'_, '_>, keywords: &[&str]) -> bool {
    let at = words.at;
    let found = keywords.iter().all(|keyword| words.word(keyword));
    if !found {
        words.at = at;
    }
    found
}

/// A setting's name as RESET and SHOW spell it.
fn named(words: &mut Words<'_, '_>) -> Option<String> {
    let special = [
        (&["time", "zone"][..], "timezone"),
        (&["session", "authorization"], "session_authorization"),
        (&["transaction", "isolation", "level"], "transaction_isolation"),
    ];
    let name = match special.iter().find(|(keywords, _)| words_follow(words, keywords)) {
        Some((_, name)) => (*name).to_owned(),
        None => words.setting()?,
    };
    words.is_done().then_some(name)
}

fn reset(words: &mut Words<'_, '_>) -> Option<Session> {
    let name = named(words)?;
    Some(if name == "all" { Session::ResetAll } else { Session::Reset { name } })
}

fn show(words: &mut Words<'_, '_>) -> Option<Session> {
    let name = named(words)?;
    Some(if name == "all" { Session::ShowAll } else { Session::Show { name } })
}

fn discard(words: &mut Words<'_, '_>) -> Option<Session> {
    let kind = match words.name()?.as_str() {
        "all" => DiscardKind::All,
        "plans" => DiscardKind::Plans,
        "sequences" => DiscardKind::Sequences,
        "temp" | "temporary" => DiscardKind::Temp,
        _ => return None,
    };
    words.is_done().then_some(Session::Discard(kind))
}

fn prepare(words: &mut Words<'_, '_>) -> Option<Session> {
    let name = words.name()?;
    let types = if words.symbol("(") { words.list()? } else { Vec::new() };
    if !words.word("as") {
        return None;
    }
    Some(Session::Prepare { name, types, statement: words.rest()? })
}

fn declare(words: &mut Words<'_, '_>) -> Option<Session> {
    let name = words.name()?;
    while words.any(&["binary", "insensitive", "asensitive", "no", "scroll"]) {}
    if !words.word("cursor") {
        return None;
    }
    let mut hold = false;
    if words.word("with") {
        hold = words.word("hold");
    } else if words.word("without") {
        words.word("hold");
    }
    if !words.word("for") {
        return None;
    }
    Some(Session::Declare { name, hold, query: words.rest()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(sql: &str) -> Option<Plan> {
        plan(sql, &crate::scan::tokens(sql))
    }

    #[test]
    fn transactions() {
        for (sql, expected) in [
            ("BEGIN ISOLATION LEVEL SERIALIZABLE", Transaction::Begin),
            ("start transaction read only", Transaction::Begin),
            ("COMMIT WORK", Transaction::Commit { chain: false }),
            ("END AND CHAIN", Transaction::Commit { chain: true }),
            ("ABORT AND NO CHAIN", Transaction::Rollback { chain: false }),
            ("ROLLBACK WORK TO SAVEPOINT \"A b\"", Transaction::RollbackTo("A b".to_owned())),
            ("SAVEPOINT S1", Transaction::Savepoint("s1".to_owned())),
            ("RELEASE s1", Transaction::Release("s1".to_owned())),
            ("SET TRANSACTION READ ONLY", Transaction::Modes),
            ("COMMIT PREPARED 'x'", Transaction::TwoPhase("COMMIT PREPARED")),
            ("PREPARE TRANSACTION 'x'", Transaction::TwoPhase("PREPARE TRANSACTION")),
        ] {
            assert_eq!(planned(sql), Some(Plan::Transaction(expected)), "{sql}");
        }
        assert_eq!(planned("COMMIT nonsense"), None);
    }

    #[test]
    fn sessions() {
        let set = |name: &str, local| Session::Set { name: name.to_owned(), local };
        for (sql, expected) in [
            ("SET search_path = a, b", set("search_path", false)),
            ("SET LOCAL atoll.Tier TO merge", set("atoll.tier", true)),
            ("SET SESSION datestyle = 'ISO'", set("datestyle", false)),
            ("SET session = 1", set("session", false)),
            ("SET TIME ZONE 'UTC'", set("timezone", false)),
            ("SET NAMES 'UTF8'", set("client_encoding", false)),
            ("SET LOCAL ROLE joe", set("role", true)),
            ("SET SESSION AUTHORIZATION DEFAULT", set("session_authorization", false)),
            ("RESET ALL", Session::ResetAll),
            ("RESET TIME ZONE", Session::Reset { name: "timezone".to_owned() }),
            ("SHOW TRANSACTION ISOLATION LEVEL", Session::Show { name: "transaction_isolation".to_owned() }),
            ("DISCARD TEMPORARY", Session::Discard(DiscardKind::Temp)),
            ("CLOSE ALL", Session::Cursor { name: None }),
            ("FETCH FORWARD 5 FROM C", Session::Cursor { name: Some("c".to_owned()) }),
            ("DEALLOCATE PREPARE ALL", Session::Deallocate { name: None }),
            (
                "PREPARE p (int, numeric(10,2)) AS SELECT $1",
                Session::Prepare {
                    name: "p".to_owned(),
                    types: vec!["int".to_owned(), "numeric(10,2)".to_owned()],
                    statement: "SELECT $1".to_owned(),
                },
            ),
            (
                "EXECUTE p(1, f(2, 3))",
                Session::Execute { name: "p".to_owned(), arguments: vec!["1".to_owned(), "f(2, 3)".to_owned()] },
            ),
            (
                "DECLARE c NO SCROLL CURSOR WITH HOLD FOR SELECT 1",
                Session::Declare { name: "c".to_owned(), hold: true, query: "SELECT 1".to_owned() },
            ),
        ] {
            assert_eq!(planned(sql), Some(Plan::Session(expected)), "{sql}");
        }
    }
}
