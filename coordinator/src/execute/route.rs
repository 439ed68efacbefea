//! From key values to shards.

use std::collections::BTreeSet;

use atoll_planner::directory::{Colocation, ColocationId, KeyType, Method, Shard};
use atoll_planner::hash::{self, KeyError, KeyValue};
use atoll_planner::plan::{KeySource, Keys};
use atoll_planner::quote_literal;

use fallible_iterator::FallibleIterator as _;

use crate::ddl::not_below;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::session::extended::Bound;
use atoll_wire::frontend::format_of;
use atoll_wire::numeric::Numeric;

/// The shards a statement needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Route {
    One(Shard),
    /// In the order of the co-location group's.
    Many(Vec<Shard>),
}

/// A value as it came; in text, when PostgreSQL has to be asked where it belongs.
enum Asked {
    Value(KeyValue),
    Text(String),
    Null,
}

impl Session {
    /// The shards that can hold rows with these keys.
    ///
    /// # Errors
    /// 22P02 and the like for a value that the key's type does not take; XX000 when the directory lacks the co-location group.
    pub async fn route(
        &mut self,
        colocation: ColocationId,
        key_type: KeyType,
        keys: &Keys,
        bound: Option<&Bound>,
    ) -> Result<Route> {
        let facts = self.facts();
        let group = facts
            .database
            .colocations
            .get(&colocation)
            .ok_or_else(|| Error::internal(format!("the directory lacks co-location group {}", colocation.0)))?;
        let Keys::These(sources) = keys else { return Ok(many(group, None)) };
        let mut shards = BTreeSet::new();
        for source in sources {
            if let KeySource::Between { from, to } = source {
                let Some(between) = self.between(group, key_type, (from, to), bound).await? else {
                    return Ok(many(group, None));
                };
                shards.extend(between);
                continue;
            }
            let Some(values) = self.values(source, key_type, bound)? else { return Ok(many(group, None)) };
            for value in values {
                let position = match value {
                    Asked::Null => continue,
                    Asked::Value(value) => group.position_of(&value),
                    Asked::Text(text) => self
                        .ask_position(group, key_type, &text)
                        .await
                        .map_err(|error| parameter_context(error, source, &text))?,
                };
                shards.insert(position);
            }
        }
        Ok(many(group, Some(shards)))
    }

    /// The shards that can hold keys of a range; `None` when all can.
    async fn between(
        &mut self,
        group: &Colocation,
        key_type: KeyType,
        (from, to): (&Option<Box<KeySource>>, &Option<Box<KeySource>>),
        bound: Option<&Bound>,
    ) -> Result<Option<Vec<usize>>> {
        if group.method != Method::Range {
            return Ok(None);
        }
        let mut edges = [None, None];
        for (edge, source) in edges.iter_mut().zip([from, to]) {
            let Some(source) = source else { continue };
            match self.values(source, key_type, bound)?.and_then(|values| values.into_iter().next()) {
                Some(Asked::Value(value)) => *edge = Some(value),
                // Nothing is less or greater than NULL.
                Some(Asked::Null) => return Ok(Some(Vec::new())),
                // Left open: more shards than need be are asked.
                Some(Asked::Text(_)) | None => {}
            }
        }
        Ok(Some(group.positions_between(edges[0].as_ref(), edges[1].as_ref())))
    }

    /// `None` when the values say nothing about the key's hash: a parameter of another kind of number, say.
    fn values(&self, source: &KeySource, key_type: KeyType, bound: Option<&Bound>) -> Result<Option<Vec<Asked>>> {
        let of_text = |text: &str| match hash::parse_text(key_type, text) {
            Ok(value) => Asked::Value(value),
            // Also for what is no value at all: PostgreSQL says so in its own words.
            Err(_) => Asked::Text(text.to_owned()),
        };
        match source {
            KeySource::Literal(text) => Ok(Some(vec![of_text(text)])),
            KeySource::Between { .. } | KeySource::Whole => Ok(None),
            KeySource::Parameter(index) | KeySource::ArrayParameter(index) => {
                let bound =
                    bound.ok_or_else(|| Error::sql("42P02", format!("there is no parameter ${}", index + 1)))?;
                let value = bound.parameters.get(*index).cloned().flatten();
                let Some(value) = value else { return Ok(Some(vec![Asked::Null])) };
                let binary = format_of(&bound.parameter_formats, *index) == 1;
                if matches!(source, KeySource::ArrayParameter(_)) {
                    return array_values(key_type, &value, binary, of_text).map(Some);
                }
                let parameter_type = bound.type_of(*index);
                if parameter_type != 0 && !hash::is_comparable(key_type, parameter_type) {
                    return Ok(integral(key_type, parameter_type, &value, binary).map(|found| {
                        // No integer equals a number with a fraction.
                        vec![found.map_or(Asked::Null, |number| of_text(&number.to_string()))]
                    }));
                }
                if binary {
                    return match hash::parse_binary(key_type, bound.type_of(*index), &value) {
                        Ok(value) => Ok(Some(vec![Asked::Value(value)])),
                        Err(KeyError::AskPostgres) | Err(_) => Err(Error::sql(
                            "22P03",
                            format!("incorrect binary data format in bind parameter {}", index + 1),
                        )),
                    };
                }
                let text = std::str::from_utf8(&value)
                    .map_err(|_| Error::sql("22021", "invalid byte sequence for encoding \"UTF8\""))?;
                Ok(Some(vec![of_text(text)]))
            }
        }
    }

    /// The position of the shard for a value in a form that only PostgreSQL's input functions read.
    pub(super) async fn ask_position(&mut self, group: &Colocation, key_type: KeyType, text: &str) -> Result<usize> {
        let question = match group.method {
            Method::Range => {
                let edges = group.ranges.iter().filter_map(|entry| entry.from.as_ref());
                let below: Vec<String> =
                    edges.map(|edge| format!("({})::int", not_below(key_type, text, &edge.text))).collect();
                // How many ranges have begun, the first aside, which begins below everything.
                if below.is_empty() { "0".to_owned() } else { below.join(" + ") }
            }
            _ => hash::sql_hash(key_type, &quote_literal(text)),
        };
        let sets = self.question(&format!("SELECT {question}")).await?;
        let answer: Option<i64> = sets.first().map(|set| set.scalar()).transpose()?.and_then(|text| text.parse().ok());
        let answer = answer.ok_or_else(|| Error::internal("PostgreSQL did not say where a key belongs"))?;
        match group.method {
            Method::Range => usize::try_from(answer)
                .ok()
                .and_then(|begun| group.ranges.get(begun))
                .map(|entry| entry.shard)
                .ok_or_else(|| Error::internal("a key beyond all ranges")),
            _ => Ok(group.position_of_hash(answer)),
        }
    }
}

/// The integer that a numeric or float parameter equals, if it equals one; `None` when that cannot be said exactly.
fn integral(key_type: KeyType, parameter_type: u32, value: &[u8], binary: bool) -> Option<Option<i64>> {
    /// Up to here every integer is a float of its own.
    const FLOAT_EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if !matches!(key_type, KeyType::Int2 | KeyType::Int4 | KeyType::Int8) {
        return None;
    }
    let of_float =
        |number: f64| (number.abs() < FLOAT_EXACT_MAX).then(|| (number.fract() == 0.0).then_some(number as i64));
    let text = || std::str::from_utf8(value).ok();
    match (parameter_type, binary) {
        (atoll_wire::oid::NUMERIC, _) => {
            let number = if binary { Numeric::from_binary(value).ok()? } else { text()?.parse().ok()? };
            let whole = number.round(0).ok()?;
            Some((whole == number).then(|| whole.to_i64()).flatten())
        }
        (atoll_wire::oid::FLOAT8, true) => of_float(f64::from_be_bytes(value.try_into().ok()?)),
        (atoll_wire::oid::FLOAT8, false) => of_float(text()?.trim().parse().ok()?),
        _ => None,
    }
}

/// The error of a value that is none: its position is in a text that the client did not write.
fn parameter_context(error: Error, source: &KeySource, text: &str) -> Error {
    let Error::Server(mut fields) = error else { return error };
    fields.remove(b'P');
    if let KeySource::Parameter(index) = source {
        // PostgreSQL says no more of it either, unless log_parameter_max_length_on_error allows.
        let shown = if text.is_empty() { "" } else { "..." };
        fields.add_context(&format!("unnamed portal parameter ${} = '{shown}'", index + 1));
    }
    Error::Server(fields)
}

fn many(group: &Colocation, only: Option<BTreeSet<usize>>) -> Route {
    let shards: Vec<Shard> = match only {
        // No row can match: any one shard says so, in the right shape.
        Some(set) if set.is_empty() => group.shards.first().cloned().into_iter().collect(),
        Some(set) => set.into_iter().map(|index| group.shards[index].clone()).collect(),
        None => group.shards.clone(),
    };
    match <[Shard; 1]>::try_from(shards) {
        Ok([shard]) => Route::One(shard),
        Err(shards) => Route::Many(shards),
    }
}

/// The elements of an array parameter.
fn array_values(key_type: KeyType, value: &[u8], binary: bool, of_text: impl Fn(&str) -> Asked) -> Result<Vec<Asked>> {
    let malformed = || Error::sql("22P03", "malformed array parameter");
    if binary {
        let array = postgres_protocol::types::array_from_sql(value).map_err(|_| malformed())?;
        let element = array.element_type();
        let mut values = Vec::new();
        let mut elements = array.values();
        while let Some(item) = elements.next().map_err(|_| malformed())? {
            values.push(match item {
                None => Asked::Null,
                Some(bytes) => match hash::parse_binary(key_type, element, bytes) {
                    Ok(value) => Asked::Value(value),
                    Err(_) => return Err(malformed()),
                },
            });
        }
        return Ok(values);
    }
    let text = std::str::from_utf8(value).map_err(|_| malformed())?;
    let elements = text_array(text).ok_or_else(malformed)?;
    Ok(elements.into_iter().map(|element| element.map_or(Asked::Null, |text| of_text(&text))).collect())
}

/// The elements of a one-dimensional array in text form; `None` when it is anything else.
fn text_array(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut elements = Vec::new();
    let mut chars = inner.chars().peekable();
    while chars.peek().is_some() {
        let mut element = String::new();
        let mut quoted = false;
        loop {
            match chars.next() {
                None | Some(',') => break,
                Some('"') => {
                    quoted = true;
                    loop {
                        match chars.next()? {
                            '"' => break,
                            '\\' => element.push(chars.next()?),
                            c => element.push(c),
                        }
                    }
                }
                Some('{' | '}') => return None,
                Some('\\') => element.push(chars.next()?),
                Some(c) => element.push(c),
            }
        }
        let bare = element.trim();
        elements.push(if quoted {
            Some(element)
        } else if bare.eq_ignore_ascii_case("null") {
            None
        } else {
            Some(bare.to_owned())
        });
    }
    Some(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_in_text_form() {
        let element = |text: &str| Some(text.to_owned());
        assert_eq!(text_array("{}"), Some(vec![]));
        assert_eq!(text_array("{1, 2,NULL}"), Some(vec![element("1"), element("2"), None]));
        assert_eq!(
            text_array(r#"{"a,b","q\"q","NULL"}"#),
            Some(vec![element("a,b"), element("q\"q"), element("NULL")])
        );
        assert_eq!(text_array("{{1},{2}}"), None);
    }
}
