//! Constants that a distribution key can be compared with, under the key's own equality.

use crate::directory::KeyType;
use crate::plan::KeySource;
use crate::syntax::{Expr, ExprKind, TypeName};

/// Whether equality of columns of these key types is equality under their common hash function.
pub(crate) fn is_key_comparable(left: KeyType, right: KeyType) -> bool {
    let integer = |key_type| matches!(key_type, KeyType::Int2 | KeyType::Int4 | KeyType::Int8);
    left == right || (integer(left) && integer(right))
}

/// What a constant expression can be as a key of this type: one value, or none for NULL. `None` when it is not a constant, or when
/// PostgreSQL would compare it with the key as another type.
pub(crate) fn constant(sql: &str, expr: &Expr<'_>, key_type: KeyType) -> Option<Vec<KeySource>> {
    let expr = expr.bare();
    let source = match &expr.kind {
        ExprKind::Null => return Some(Vec::new()),
        ExprKind::Parameter(index) => KeySource::Parameter(*index),
        ExprKind::String(value) => KeySource::Literal(value.as_ref()?.to_string()),
        ExprKind::Integer | ExprKind::Numeric | ExprKind::Unary { .. } => {
            KeySource::Literal(number(sql, expr, key_type)?)
        }
        ExprKind::Cast { operand, target } if is_own_type(target, key_type) => {
            let operand = operand.bare();
            return match &operand.kind {
                ExprKind::Null | ExprKind::Parameter(_) | ExprKind::String(_) => constant(sql, operand, key_type),
                // A cast from a fraction to an integer rounds.
                ExprKind::Integer | ExprKind::Numeric | ExprKind::Unary { .. }
                    if target.name == "numeric" || is_integer(operand) =>
                {
                    number(sql, operand, key_type).map(|text| vec![KeySource::Literal(text)])
                }
                _ => None,
            };
        }
        _ => return None,
    };
    Some(vec![source])
}

/// As [`constant`], for a value that is stored in a key column: the column's length or precision may change it on the way, which is then
/// for PostgreSQL to say.
pub(crate) fn assigned_constant(sql: &str, expr: &Expr<'_>, key_type: KeyType, typmod: i32) -> Option<Vec<KeySource>> {
    let sources = constant(sql, expr, key_type)?;
    let unchanged = |source: &KeySource| match (key_type, source) {
        // varchar(n) drops blanks beyond its length; its modifier is n + 4.
        (KeyType::Text, KeySource::Literal(text)) => {
            i32::try_from(text.chars().count()).is_ok_and(|length| length <= typmod - 4)
        }
        (KeyType::Text | KeyType::Timestamp | KeyType::Timestamptz | KeyType::Numeric, _) => false,
        _ => true,
    };
    (typmod < 0 || sources.iter().all(unchanged)).then_some(sources)
}

/// A number's text, when the key is of a type that PostgreSQL compares it with as it stands.
fn number(sql: &str, expr: &Expr<'_>, key_type: KeyType) -> Option<String> {
    let (sign, digits) = signed(sql, expr)?;
    let allowed = match key_type {
        // More digits than bigint has make a literal numeric.
        KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => {
            matches!(digits.kind, ExprKind::Integer) && digits.span.of(sql).parse::<i64>().is_ok()
        }
        KeyType::Numeric => true,
        _ => false,
    };
    allowed.then(|| format!("{sign}{}", digits.span.of(sql)))
}

fn signed<'s, 'a>(sql: &str, expr: &'s Expr<'a>) -> Option<(&'static str, &'s Expr<'a>)> {
    match &expr.kind {
        ExprKind::Integer | ExprKind::Numeric => Some(("", expr)),
        ExprKind::Unary { operator, operand } => {
            let operand = operand.bare();
            let number = matches!(operand.kind, ExprKind::Integer | ExprKind::Numeric);
            match operator.of(sql) {
                "-" if number => Some(("-", operand)),
                "+" if number => Some(("", operand)),
                _ => None,
            }
        }
        _ => None,
    }
}

fn is_integer(expr: &Expr<'_>) -> bool {
    match &expr.kind {
        ExprKind::Unary { operand, .. } => matches!(operand.bare().kind, ExprKind::Integer),
        kind => matches!(kind, ExprKind::Integer),
    }
}

/// Whether a cast to this type leaves a comparison with the key in the key's own hash function.
pub(crate) fn is_own_type(target: &TypeName<'_>, key_type: KeyType) -> bool {
    is_own_name(target, key_type) && !target.array
}

fn is_own_name(target: &TypeName<'_>, key_type: KeyType) -> bool {
    if target.modified || !matches!(target.schema.as_deref(), None | Some("pg_catalog")) {
        return false;
    }
    let name = target.name.as_ref();
    match key_type {
        KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => matches!(name, "int2" | "int4" | "int8"),
        KeyType::Text => matches!(name, "text" | "varchar"),
        KeyType::Bpchar => name == "bpchar",
        KeyType::Uuid => name == "uuid",
        KeyType::Date => name == "date",
        KeyType::Timestamp => name == "timestamp",
        KeyType::Timestamptz => name == "timestamptz",
        KeyType::Numeric => matches!(name, "numeric" | "int2" | "int4" | "int8"),
        KeyType::Bytea => name == "bytea",
    }
}

/// What `= ANY (...)` can match: an array parameter, or the elements of ARRAY[...].
pub(crate) fn elements(sql: &str, array: &Expr<'_>, key_type: KeyType) -> Option<Vec<KeySource>> {
    let array = array.bare();
    match &array.kind {
        ExprKind::Null => Some(Vec::new()),
        ExprKind::Parameter(index) => Some(vec![KeySource::ArrayParameter(*index)]),
        ExprKind::Cast { operand, target } if target.array && is_own_name(target, key_type) => {
            match &operand.bare().kind {
                ExprKind::Parameter(_) | ExprKind::Null | ExprKind::Array(_) => elements(sql, operand, key_type),
                ExprKind::String(Some(text)) => plain_elements(text),
                _ => None,
            }
        }
        ExprKind::String(Some(text)) => plain_elements(text),
        ExprKind::Array(list) => {
            let mut sources = Vec::with_capacity(list.len());
            for element in list {
                sources.extend(constant(sql, element, key_type)?);
            }
            Some(sources)
        }
        _ => None,
    }
}

/// The elements of an array constant without quotes, escapes, NULLs or dimensions.
fn plain_elements(text: &str) -> Option<Vec<KeySource>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    if inner.is_empty() {
        return Some(Vec::new());
    }
    let plain = |element: &str| {
        !element.is_empty()
            && !element.eq_ignore_ascii_case("null")
            && element.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    inner.split(',').map(|element| plain(element).then(|| KeySource::Literal(element.to_owned()))).collect()
}
