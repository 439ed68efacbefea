//! Stretches of a planned text whose value only shows when it runs, and must be one wherever the text runs: what the clock says, and what
//! the catalog database alone can tell. A text that goes to one backend as the client wrote it is [`plain`] again.
//!
//! A mark is `\0kind original\0before\0after\0`: no statement can hold one, because PostgreSQL has no zero bytes in text.

use std::borrow::Cow;

use crate::scan::Span;
use crate::syntax::Call;

/// What a mark stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The time at which the transaction began: a literal goes between `before` and `after`.
    Clock,
    /// The value of `original` in the catalog database, as a constant of its type.
    Catalog,
}

/// A mark, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark<'a> {
    pub asked: Asked,
    /// As the client wrote it.
    pub original: &'a str,
    pub before: &'a str,
    pub after: &'a str,
}

impl Mark<'_> {
    fn text(&self) -> String {
        let kind = match self.asked {
            Asked::Clock => 't',
            Asked::Catalog => 'c',
        };
        format!("\0{kind}{}\0{}\0{}\0", self.original, self.before, self.after)
    }
}

/// Whether there are any.
pub fn has_marks(sql: &str) -> bool {
    sql.as_bytes().contains(&0)
}

/// The marks of a text, in order.
pub fn marks(sql: &str) -> impl Iterator<Item = Mark<'_>> {
    let mut parts = sql.split('\0').skip(1);
    std::iter::from_fn(move || {
        let (head, before, after) = (parts.next()?, parts.next()?, parts.next()?);
        parts.next();
        let asked = if head.starts_with('t') { Asked::Clock } else { Asked::Catalog };
        Some(Mark { asked, original: head.get(1..)?, before, after })
    })
}

/// The text with each mark replaced by a value, or by what the client wrote where `value` gives none.
pub fn resolve<'a>(sql: &'a str, mut value: impl FnMut(&Mark<'a>) -> Option<String>) -> Cow<'a, str> {
    if !has_marks(sql) {
        return Cow::Borrowed(sql);
    }
    let mut out = String::with_capacity(sql.len());
    let mut found = marks(sql);
    for (index, part) in sql.split('\0').enumerate() {
        match index % 4 {
            0 => out.push_str(part),
            1 => {
                let Some(mark) = found.next() else { continue };
                match value(&mark) {
                    Some(value) => {
                        out.push_str(mark.before);
                        out.push_str(&value);
                        out.push_str(mark.after);
                    }
                    None => out.push_str(mark.original),
                }
            }
            _ => {}
        }
    }
    Cow::Owned(out)
}

/// The text as the client wrote it.
pub fn plain(sql: &str) -> Cow<'_, str> {
    resolve(sql, |_| None)
}

/// Where a call stands in the text.
pub(crate) fn span_of(call: &Call<'_>) -> Span {
    let name = call.name.span();
    Span { start: name.start, end: name.end.max(call.parentheses.end) }
}

/// The mark for a call of a built-in function that tells when the transaction began; `None` for any other. `named` when a column gets its
/// name from the call.
pub(crate) fn clock(sql: &str, call: &Call<'_>, named: bool) -> Option<String> {
    let name = call.name.last();
    let precision = if call.special { call.parentheses.of(sql).trim() } else { "" };
    let target = match name {
        "now" | "transaction_timestamp" if call.arguments.is_empty() && !call.special => {
            "timestamp with time zone".to_owned()
        }
        "current_timestamp" if call.special => format!("timestamp{precision} with time zone"),
        "current_date" if call.special => "date".to_owned(),
        "current_time" if call.special => format!("time{precision} with time zone"),
        "localtime" if call.special => format!("time{precision} without time zone"),
        "localtimestamp" if call.special => format!("timestamp{precision} without time zone"),
        _ => return None,
    };
    let whole = "timestamp with time zone";
    let cast = if target == whole { String::new() } else { format!("::{target}") };
    let (before, after) = wrapped(named.then_some(name), format!("::{whole}{cast}"));
    Some(Mark { asked: Asked::Clock, original: span_of(call).of(sql), before: &before, after: &after }.text())
}

/// The mark for a constant expression that the catalog database computes; `named` as in [`clock`].
pub(crate) fn catalog(sql: &str, span: Span, name: Option<&str>) -> String {
    let (before, after) = wrapped(name, String::new());
    Mark { asked: Asked::Catalog, original: span.of(sql), before: &before, after: &after }.text()
}

/// A scalar subquery gives its column's name to an output column, as a call does.
fn wrapped(name: Option<&str>, cast: String) -> (String, String) {
    match name {
        Some(name) => ("(SELECT ".to_owned(), format!("{cast} AS {})", crate::quote_identifier(name))),
        None => ("(".to_owned(), format!("{cast})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_and_replaced() {
        let mark = Mark { asked: Asked::Clock, original: "now()", before: "(", after: "::x)" };
        let sql = format!("SELECT {0}, {0}", mark.text());
        assert_eq!(marks(&sql).collect::<Vec<_>>(), [mark, mark]);
        assert_eq!(plain(&sql), "SELECT now(), now()");
        let mut first = true;
        let resolved = resolve(&sql, |_| std::mem::take(&mut first).then(|| "'v'".to_owned()));
        assert_eq!(resolved, "SELECT ('v'::x), now()");
        assert_eq!(plain("SELECT 1"), "SELECT 1");
    }
}
