//! The words of SQL text, without parsing it.

/// Every identifier, keyword and number-like word in `text`, also inside strings and comments: unquoted ones in lower case, quoted
/// ones as they are.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    Words { rest: text, skip_strings: false }.map(|(word, _)| word)
}

/// The names of what looks like a function call in an expression as PostgreSQL prints it; the schema is left out.
pub fn called_functions(expression: &str) -> impl Iterator<Item = String> + '_ {
    Words { rest: expression, skip_strings: true }.filter(|(_, called)| *called).map(|(word, _)| word)
}

struct Words<'a> {
    rest: &'a str,
    skip_strings: bool,
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '$' || !character.is_ascii()
}

impl Iterator for Words<'_> {
    /// A word, and whether an opening parenthesis follows.
    type Item = (String, bool);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let first = self.rest.chars().next()?;
            let word = if first == '"' {
                let (word, rest) = quoted(&self.rest[1..], '"');
                self.rest = rest;
                word
            } else if first == '\'' && self.skip_strings {
                self.rest = quoted(&self.rest[1..], '\'').1;
                continue;
            } else if is_word(first) {
                let end = self.rest.find(|character| !is_word(character)).unwrap_or(self.rest.len());
                let (word, rest) = self.rest.split_at(end);
                self.rest = rest;
                word.to_lowercase()
            } else {
                self.rest = &self.rest[first.len_utf8()..];
                continue;
            };
            return Some((word, self.rest.trim_start().starts_with('(')));
        }
    }
}

/// What stands before the closing quote (a doubled one stands for itself), and what follows it.
fn quoted(text: &str, quote: char) -> (String, &str) {
    let mut content = String::new();
    let mut rest = text;
    loop {
        let Some(end) = rest.find(quote) else {
            content.push_str(rest);
            return (content, "");
        };
        content.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix(quote) {
            Some(after) => {
                content.push(quote);
                rest = after;
            }
            None => return (content, rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_body() {
        let found: Vec<_> = words(r#"SELECT * FROM Sales."My ""Table""" t -- 'orders'"#).collect();
        assert_eq!(found, ["select", "from", "sales", "My \"Table\"", "t", "orders"]);
        assert_eq!(words("\"open").collect::<Vec<_>>(), ["open"]);
    }

    #[test]
    fn calls_in_a_default() {
        let called = |text| called_functions(text).collect::<Vec<_>>();
        assert_eq!(called("nextval('public.orders_id_seq'::regclass)"), ["nextval"]);
        assert_eq!(called("'random()'::text"), Vec::<String>::new());
        assert_eq!(called("(public.\"F\" (1) + length('it''s'::text))"), ["F", "length"]);
        assert_eq!(called("CURRENT_DATE"), Vec::<String>::new());
    }
}
