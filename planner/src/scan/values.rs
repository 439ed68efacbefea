//! The values of quoted tokens.

use std::borrow::Cow;

/// PostgreSQL keeps 63 bytes of a name.
pub(super) fn truncate_identifier(name: Cow<'_, str>) -> Cow<'_, str> {
    if name.len() <= 63 {
        return name;
    }
    let mut end = 63;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    match name {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
        Cow::Owned(mut text) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    }
}

/// The value of `'a''b'`, and of its continuations: `'a'` newline `'b'`.
pub(super) fn quoted_segments(text: &str) -> Option<String> {
    let mut value = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('\'') {
        rest = &rest[open + 1..];
        loop {
            let close = rest.find('\'')?;
            value.push_str(&rest[..close]);
            rest = &rest[close + 1..];
            match rest.strip_prefix('\'') {
                Some(after) => {
                    value.push('\'');
                    rest = after;
                }
                None => break,
            }
        }
        if let Some(after) = skip_comment_lines(rest) {
            rest = after;
        }
    }
    Some(value)
}

/// What follows blanks and line comments between the parts of a continued string.
fn skip_comment_lines(text: &str) -> Option<&str> {
    let mut rest = text.trim_start_matches(is_blank);
    while rest.starts_with("--") {
        rest = rest[rest.find(['\n', '\r'])?..].trim_start_matches(is_blank);
    }
    Some(rest)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c')
}

/// The value of an E'' string without its E. Bytes given one by one are only taken when they are ASCII.
pub(super) fn unescape(text: &str) -> Option<String> {
    let mut value = String::with_capacity(text.len());
    let mut chars = text.strip_prefix('\'')?.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                if chars.peek() == Some(&'\'') {
                    chars.next();
                    value.push('\'');
                } else if chars.peek().is_none() {
                    return Some(value);
                } else {
                    // A continuation on a later line: rare enough to leave to PostgreSQL.
                    return None;
                }
            }
            '\\' => match chars.next()? {
                'b' => value.push('\x08'),
                'f' => value.push('\x0c'),
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                digit @ '0'..='7' => {
                    let mut code = digit.to_digit(8)?;
                    for _ in 0..2 {
                        let Some(next) = chars.peek().and_then(|c| c.to_digit(8)) else { break };
                        code = code * 8 + next;
                        chars.next();
                    }
                    value.push(ascii(code)?);
                }
                'x' if chars.peek().is_some_and(char::is_ascii_hexdigit) => {
                    let mut code = 0;
                    for _ in 0..2 {
                        let Some(next) = chars.peek().and_then(|c| c.to_digit(16)) else { break };
                        code = code * 16 + next;
                        chars.next();
                    }
                    value.push(ascii(code)?);
                }
                length @ ('u' | 'U') => {
                    let mut code = 0;
                    for _ in 0..if length == 'u' { 4 } else { 8 } {
                        code = code * 16 + chars.next()?.to_digit(16)?;
                    }
                    value.push(char::from_u32(code).filter(|c| *c != '\0')?);
                }
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

fn ascii(code: u32) -> Option<char> {
    if code == 0 || code > 127 { None } else { char::from_u32(code) }
}

/// `\XXXX` and `\+XXXXXX`, or with another escape character.
pub(super) fn unescape_unicode(text: &str, escape: char) -> Option<String> {
    let mut value = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != escape {
            value.push(c);
            continue;
        }
        let digits = match chars.peek()? {
            next if *next == escape => {
                chars.next();
                value.push(escape);
                continue;
            }
            '+' => {
                chars.next();
                6
            }
            _ => 4,
        };
        let mut code = 0;
        for _ in 0..digits {
            code = code * 16 + chars.next()?.to_digit(16)?;
        }
        value.push(char::from_u32(code).filter(|c| *c != '\0')?);
    }
    Some(value)
}
