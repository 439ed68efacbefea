//! Atoll's own relations in a statement's text: the coordinator puts their rows in.

use crate::plan::{SizeFunction, VirtualPiece, VirtualRelation};
use crate::scan::Span;
use crate::syntax::Call;

/// Text with Atoll's own relations spliced in.
pub(crate) struct VirtualEdits<'a> {
    sql: &'a str,
    list: Vec<(Span, Vec<VirtualPiece>)>,
}

impl<'a> VirtualEdits<'a> {
    pub fn new(sql: &'a str) -> Self {
        Self { sql, list: Vec::new() }
    }

    pub fn relation(&mut self, name: Span, relation: VirtualRelation, alias: &str, alias_place: Option<usize>) {
        self.list.push((name, vec![VirtualPiece::Relation(relation)]));
        if let Some(place) = alias_place.filter(|_| !alias.is_empty()) {
            let place = Span { start: place.max(name.end), end: place.max(name.end) };
            self.list.push((place, vec![VirtualPiece::Text(format!(" AS {}", crate::quote_identifier(alias)))]));
        }
    }

    /// A size function of one argument (with two, say a fork's name, it stays PostgreSQL's own).
    pub fn size(&mut self, call: &Call<'_>) {
        if let (Some(function), [_]) = (SizeFunction::named(call.name.last()), call.arguments.as_slice()) {
            self.list.push((call.name.span(), vec![VirtualPiece::Relation(VirtualRelation::Size(function))]));
            let behind = Span { start: call.parentheses.end, end: call.parentheses.end };
            self.list.push((behind, vec![VirtualPiece::Text(" AS asked) AS calls)".to_owned())]));
        }
    }

    pub fn remove(&mut self, span: Span) {
        self.list.push((span, Vec::new()));
    }

    pub fn finish(mut self) -> Option<Vec<VirtualPiece>> {
        if self.list.is_empty() {
            return None;
        }
        self.list.sort_by_key(|(span, _)| (span.start, span.end));
        let mut out = Vec::new();
        let mut at = 0;
        for (span, pieces) in self.list {
            if span.start < at {
                continue;
            }
            push(&mut out, VirtualPiece::Text(self.sql[at..span.start].to_owned()));
            pieces.into_iter().for_each(|piece| push(&mut out, piece));
            at = span.end;
        }
        push(&mut out, VirtualPiece::Text(self.sql[at..].to_owned()));
        Some(out)
    }
}

fn push(out: &mut Vec<VirtualPiece>, piece: VirtualPiece) {
    match (out.last_mut(), piece) {
        (_, VirtualPiece::Text(text)) if text.is_empty() => {}
        (Some(VirtualPiece::Text(last)), VirtualPiece::Text(text)) => last.push_str(&text),
        (_, piece) => out.push(piece),
    }
}
