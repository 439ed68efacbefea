//! Error positions in texts that were sent with other schemas in front of names than the client wrote.

use atoll_planner::scan::tokens;

use crate::facts::sliced_schema;

/// Where the character at `position` (from 1) of the backend's text stands in the client's: the former is the latter with schemas put in
/// front of names, or exchanged for their slices. `None` for a place that the client's text does not have.
pub fn in_client_text(client: &str, backend: &str, position: usize) -> Option<usize> {
    let byte = backend.char_indices().nth(position.checked_sub(1)?).map_or(backend.len(), |(byte, _)| byte);
    let (ours, theirs) = (tokens(client), tokens(backend));
    let mut ours = ours.iter().peekable();
    let mut theirs = theirs.iter().peekable();
    let chars = |byte: usize| client.get(..byte).map(|before| before.chars().count() + 1);
    while let Some(there) = theirs.next() {
        let text = there.span.of(backend);
        let here = ours.peek();
        let same = here.is_some_and(|here| here.span.of(client) == text);
        let exchanged = || {
            let schema = sliced_schema(text.trim_matches('"'))?;
            here.filter(|here| here.span.of(client).trim_matches('"').eq_ignore_ascii_case(schema))
        };
        if same || exchanged().is_some() {
            let here = ours.next()?;
            if byte < there.span.end {
                return chars(here.span.start + byte.saturating_sub(there.span.start));
            }
        } else {
            // A schema and its dot, which only the backend's text has: the name behind them is what is meant.
            theirs.next();
            if byte < there.span.end {
                return chars(here?.span.start);
            }
        }
    }
    chars(client.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_survive_schemas() {
        let client = "SELECT é, o.x FROM Orders o, public.nations WHERE nope = 1";
        let backend = "SELECT é, o.x FROM s0007_public.Orders o, s0007_public.nations WHERE nope = 1";
        let at = |text: &str, word: &str| text[..text.find(word).unwrap()].chars().count() + 1;
        for (there, here) in [("o.x", "o.x"), ("Orders", "Orders"), ("nope", "nope"), ("s0007_public.Orders", "Orders")]
        {
            assert_eq!(in_client_text(client, backend, at(backend, there)), Some(at(client, here)), "{there}");
        }
        let (end, length) = (backend.chars().count() + 1, client.chars().count() + 1);
        assert_eq!(in_client_text(client, backend, end), Some(length));
    }
}
