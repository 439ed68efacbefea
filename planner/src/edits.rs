//! Text with stretches of it replaced: nothing else of a statement is ever rewritten.

use crate::plan::{Piece, Template};
use crate::scan::Span;

/// Replacements in a statement's text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edits {
    list: Vec<(Span, Vec<Piece>)>,
}

impl Edits {
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn replace(&mut self, span: Span, pieces: Vec<Piece>) {
        self.list.push((span, pieces));
    }

    pub fn replace_text(&mut self, span: Span, text: impl Into<String>) {
        self.replace(span, vec![Piece::Text(text.into())]);
    }

    pub fn insert_text(&mut self, at: usize, text: impl Into<String>) {
        self.replace_text(Span { start: at, end: at }, text);
    }

    /// Replaces a stretch in another way than said before.
    pub fn override_text(&mut self, span: Span, text: impl Into<String>) {
        self.list.retain(|(other, _)| *other != span);
        self.replace_text(span, text);
    }

    /// The stretch of the text with all replacements that lie inside; of overlapping ones the first to start, then the longest, wins.
    pub fn apply(&self, sql: &str, within: Span) -> Template {
        let mut list: Vec<&(Span, Vec<Piece>)> =
            self.list.iter().filter(|(span, _)| span.start >= within.start && span.end <= within.end).collect();
        list.sort_by_key(|(span, _)| (span.start, std::cmp::Reverse(span.end)));
        let mut template = Template { pieces: Vec::with_capacity(list.len() * 2 + 1) };
        let mut at = within.start;
        for (span, pieces) in list {
            if span.start < at {
                continue;
            }
            push_text(&mut template, Span { start: at, end: span.start }.of(sql));
            for piece in pieces {
                match piece {
                    Piece::Text(text) => push_text(&mut template, text),
                    slice @ Piece::Slice(_) => template.pieces.push(slice.clone()),
                }
            }
            at = span.end;
        }
        push_text(&mut template, Span { start: at, end: within.end }.of(sql));
        template
    }

    /// As [`Edits::apply`], for replacements by text only.
    pub fn apply_text(&self, sql: &str, within: Span) -> String {
        self.apply(sql, within)
            .pieces
            .into_iter()
            .map(|piece| match piece {
                Piece::Text(text) => text,
                Piece::Slice(schema) => schema,
            })
            .collect()
    }
}

pub(crate) fn push_text(template: &mut Template, text: &str) {
    if text.is_empty() {
        return;
    }
    match template.pieces.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ => template.pieces.push(Piece::Text(text.to_owned())),
    }
}

/// Appends all pieces of another template.
pub(crate) fn append(template: &mut Template, other: Template) {
    for piece in other.pieces {
        match piece {
            Piece::Text(text) => push_text(template, &text),
            slice @ Piece::Slice(_) => template.pieces.push(slice),
        }
    }
}
