//! The fields of an ErrorResponse or NoticeResponse.

/// Codes in the order in which PostgreSQL sends them.
const ORDER: &[u8] = b"SVCMDHPpqWstcdnFLR";

/// Fields of an error or notice, in the order they came, unknown ones included (PostgreSQL manual, "Error and Notice
/// Message Fields").
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErrorFields {
    fields: Vec<(u8, String)>,
}

impl ErrorFields {
    /// `severity` is ERROR, FATAL or PANIC, or for a notice WARNING, NOTICE, DEBUG, INFO or LOG.
    pub fn new(severity: &str, sqlstate: &str, message: impl Into<String>) -> Self {
        Self {
            fields: vec![
                (b'S', severity.to_owned()),
                (b'V', severity.to_owned()),
                (b'C', sqlstate.to_owned()),
                (b'M', message.into()),
            ],
        }
    }

    pub(crate) fn from_fields(fields: Vec<(u8, String)>) -> Self {
        Self { fields }
    }

    /// Codes and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &str)> {
        self.fields.iter().map(|(code, value)| (*code, value.as_str()))
    }

    /// The value of the field with this code.
    pub fn get(&self, code: u8) -> Option<&str> {
        self.iter().find(|(this, _)| *this == code).map(|(_, value)| value)
    }

    /// Replaces the field with this code, or puts it where PostgreSQL would.
    pub fn set(&mut self, code: u8, value: impl Into<String>) {
        let value = value.into();
        if let Some((_, old)) = self.fields.iter_mut().find(|(this, _)| *this == code) {
            *old = value;
            return;
        }
        let rank = |code: u8| ORDER.iter().position(|&other| other == code).unwrap_or(ORDER.len());
        let at = self.fields.iter().position(|(other, _)| rank(*other) > rank(code)).unwrap_or(self.fields.len());
        self.fields.insert(at, (code, value));
    }

    /// Takes the field with this code out.
    pub fn remove(&mut self, code: u8) {
        self.fields.retain(|(this, _)| *this != code);
    }

    /// The severity, not translated; empty when the server sent none.
    pub fn severity(&self) -> &str {
        self.get(b'V').or_else(|| self.get(b'S')).unwrap_or_default()
    }

    /// Empty when the server sent none.
    pub fn sqlstate(&self) -> &str {
        self.get(b'C').unwrap_or_default()
    }

    pub fn set_sqlstate(&mut self, sqlstate: &str) {
        self.set(b'C', sqlstate);
    }

    /// Empty when the server sent none.
    pub fn message(&self) -> &str {
        self.get(b'M').unwrap_or_default()
    }

    pub fn set_message(&mut self, message: impl Into<String>) {
        self.set(b'M', message);
    }

    pub fn detail(&self) -> Option<&str> {
        self.get(b'D')
    }

    pub fn set_detail(&mut self, detail: impl Into<String>) {
        self.set(b'D', detail);
    }

    /// Itself with this detail.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.set_detail(detail);
        self
    }

    pub fn hint(&self) -> Option<&str> {
        self.get(b'H')
    }

    pub fn set_hint(&mut self, hint: impl Into<String>) {
        self.set(b'H', hint);
    }

    /// Itself with this hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.set_hint(hint);
        self
    }

    /// Where in the statement's text, in characters from 1.
    pub fn position(&self) -> Option<u32> {
        self.get(b'P').and_then(|text| text.parse().ok())
    }

    /// None takes the position out.
    pub fn set_position(&mut self, position: Option<u32>) {
        match position {
            Some(position) => self.set(b'P', position.to_string()),
            None => self.remove(b'P'),
        }
    }

    pub fn context(&self) -> Option<&str> {
        self.get(b'W')
    }

    /// Appends a line to CONTEXT: the outermost last, as PostgreSQL stacks them.
    pub fn add_context(&mut self, line: &str) {
        let context = match self.context() {
            Some(inner) => format!("{inner}\n{line}"),
            None => line.to_owned(),
        };
        self.set(b'W', context);
    }
}

impl std::fmt::Display for ErrorFields {
    /// `SEVERITY SQLSTATE: message`, for logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.severity(), self.sqlstate(), self.message())
    }
}
