//! `SELECT create_distributed_table(...)`, `SELECT atoll.session_token()` and their kin: calls that the coordinator answers itself.

use crate::ddl::Words;
use crate::plan::{Distribute, DistributeFunction, Own, OwnFunction, Plan};

/// A SELECT of nothing but one call.
struct Alone {
    schema: Option<String>,
    name: String,
    /// Names (when given as `name => ...`) and expressions.
    arguments: Vec<(Option<String>, String)>,
    /// The output column's name.
    column: String,
}

/// The plan of a SELECT of nothing but one such call; `None` for every other statement.
pub fn plan_distribute(sql: &str) -> Option<Plan> {
    let Alone { schema, name, arguments, column } = alone(sql)?;
    let function = DistributeFunction::named(schema.as_deref(), &name)?;
    Some(Plan::Distribute(Distribute { function, arguments, column }))
}

/// As [`plan_distribute`], for functions that tell something.
pub fn plan_own(sql: &str) -> Option<Plan> {
    let Alone { schema, name, arguments, column } = alone(sql)?;
    let function = OwnFunction::named(schema.as_deref(), &name)?;
    let arguments: Vec<String> = arguments.into_iter().map(|(_, expression)| expression).collect();
    (arguments.len() == function.arguments()).then_some(Plan::Own(Own { function, arguments, column }))
}

fn alone(sql: &str) -> Option<Alone> {
    let mut words = Words::new(sql);
    if !words.accept("select") {
        return None;
    }
    let name = words.name()?;
    if !words.accept_symbol("(") {
        return None;
    }
    let mut arguments = Vec::new();
    while !words.accept_symbol(")") {
        arguments.push(argument(&mut words)?);
        if !words.accept_symbol(",") && !words.is_symbol(")") {
            return None;
        }
    }
    words.accept("as");
    let column = match words.peek() {
        None => name.name.clone(),
        Some(token) => {
            words.next();
            token.identifier(sql)?.into_owned()
        }
    };
    words.peek().is_none().then_some(Alone { schema: name.schema, name: name.name, arguments, column })
}

/// `expression` or `name => expression`, up to its comma or the closing parenthesis.
fn argument(words: &mut Words<'_>) -> Option<(Option<String>, String)> {
    let sql = words.sql;
    let start = words.position();
    let named = words.name().filter(|_| words.accept_symbol("=>") || words.accept_symbol(":="));
    if named.is_none() {
        words.seek(start);
    }
    let from = words.offset();
    let mut end = from;
    while let Some(token) = words.peek() {
        if token.is_symbol(sql, ",") || token.is_symbol(sql, ")") {
            break;
        }
        if !words.skip_parentheses() {
            words.next();
        }
        end = words.tokens()[words.position() - 1].span.end;
    }
    (end > from).then(|| (named.map(|name| name.name), sql[from..end].to_owned()))
}
