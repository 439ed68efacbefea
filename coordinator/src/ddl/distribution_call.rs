//! The arguments of `create_distributed_table` and its kin: Atoll's own order and Citus's, by position or by name.

use atoll_planner::directory::{Method, TableName};
use atoll_planner::plan::{Distribute, DistributeFunction};
use atoll_planner::quote_literal;

use super::Scope;
use crate::directory::rows::Rows;
use crate::error::{Error, Result, sqlstate};

/// What a call asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub table: TableName,
    pub key: Option<String>,
    pub method: Method,
    pub shard_count: Option<u32>,
    pub colocate_with: ColocateWith,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ColocateWith {
    Default,
    None,
    Table(TableName),
}

/// Arguments by name, as SQL expressions.
#[derive(Default)]
struct Named<'a> {
    table: Option<&'a str>,
    key: Option<&'a str>,
    distribution_type: Option<&'a str>,
    shard_count: Option<&'a str>,
    colocate_with: Option<&'a str>,
}

/// Evaluates a call's arguments in the catalog database.
///
/// # Errors
/// 42883 for arguments that no form of the function has; PostgreSQL's own for expressions and names.
pub(super) async fn read(scope: &mut Scope<'_>, call: &Distribute) -> Result<Call> {
    let named = match_arguments(call)?;
    let table = named.table.ok_or_else(|| unknown_form(call))?;
    if call.function == DistributeFunction::CreateDistributedTable && named.key.is_none() {
        return Err(unknown_form(call));
    }
    let text = |expression: Option<&str>| expression.map_or("NULL".to_owned(), |text| format!("({text})::text"));
    let sql = format!(
        "SELECT {}, {}, {}, {}, nspname, relname \
         FROM (SELECT ({table})::regclass AS oid) AS named \
         LEFT JOIN pg_class ON pg_class.oid = named.oid LEFT JOIN pg_namespace ON pg_namespace.oid = relnamespace",
        text(named.key),
        text(named.distribution_type),
        named.shard_count.map_or("NULL".to_owned(), |text| format!("({text})::int4")),
        text(named.colocate_with),
    );
    let results = scope.catalog(&sql).await?;
    let row = results.first().map(Rows::new).ok_or_else(|| Error::internal("the catalog answered oddly"))?.only()?;
    let Some(schema) = row.maybe(4) else {
        return Err(Error::sql("42P01", "the table to distribute does not exist"));
    };
    let method = match row.maybe(1) {
        None => Method::Hash,
        Some(name) => Method::named(name).filter(|method| *method != Method::Schema).ok_or_else(|| {
            Error::unsupported(
                format!("distribution type \"{name}\" is not supported"),
                "There are shards for hashes, for ranges, and for single keys of the key's values.",
                "Tables are distributed by \"hash\", \"range\" or \"directory\".",
            )
        })?,
    };
    let shard_count = match row.maybe(2) {
        None => None,
        Some(text) => Some(text.parse().ok().filter(|count| (1..=64_000).contains(count)).ok_or_else(|| {
            Error::sql(
                sqlstate::INVALID_PARAMETER_VALUE,
                format!("{text} is outside the valid range for shard_count (1 .. 64000)"),
            )
        })?),
    };
    let colocate_with = match row.maybe(3) {
        None | Some("default") => ColocateWith::Default,
        Some("none") => ColocateWith::None,
        Some(other) => ColocateWith::Table(named_table(scope, other).await?),
    };
    let table = TableName::new(schema, row.text(5)?);
    Ok(Call { table, key: row.maybe(0).map(str::to_owned), method, shard_count, colocate_with })
}

async fn named_table(scope: &mut Scope<'_>, name: &str) -> Result<TableName> {
    let sql = format!(
        "SELECT nspname, relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
         WHERE pg_class.oid = {}::regclass",
        quote_literal(name)
    );
    let results = scope.catalog(&sql).await?;
    let row = results.first().map(Rows::new).ok_or_else(|| Error::internal("the catalog answered oddly"))?.only()?;
    Ok(TableName::new(row.text(0)?, row.text(1)?))
}

fn unknown_form(call: &Distribute) -> Error {
    let name = call.function.name();
    let form = match call.function {
        DistributeFunction::CreateDistributedTable => {
            "create_distributed_table(table_name, distribution_column [, distribution_type, colocate_with, shard_count])"
        }
        DistributeFunction::CreateReferenceTable => "create_reference_table(table_name)",
        DistributeFunction::UndistributeTable => "undistribute_table(table_name)",
        DistributeFunction::AddRangeShard => "atoll.add_range_shard(table_name, key_from, key_to [, group])",
        DistributeFunction::AssignKey => "atoll.assign_key(table_name, key [, group | shard_id => ...])",
        DistributeFunction::DistributeSchema => "atoll.distribute_schema(schema_name [, group])",
        DistributeFunction::UndistributeSchema => "atoll.undistribute_schema(schema_name)",
    };
    Error::sql("42883", format!("function {name} does not take these arguments"))
        .with_hint(format!("Call it as {form}."))
}

/// A call's arguments under the names of a function's parameters, in the order of the parameters; `None` for one that is left out.
///
/// # Errors
/// 42883 for an argument that the function does not have, 42601 for one that is given twice.
pub(super) fn by_name<'a, const N: usize>(
    call: &'a Distribute,
    parameters: [&str; N],
    required: usize,
) -> Result<[Option<&'a str>; N]> {
    let mut given = [None; N];
    for (position, (name, expression)) in call.arguments.iter().enumerate() {
        let index = match name.as_deref() {
            None => position,
            Some(name) => parameters.iter().position(|known| *known == name).ok_or_else(|| unknown_form(call))?,
        };
        let slot = given.get_mut(index).ok_or_else(|| unknown_form(call))?;
        if slot.replace(expression.as_str()).is_some() {
            return Err(Error::sql("42601", format!("argument name \"{}\" used more than once", parameters[index])));
        }
    }
    if given[..required].iter().any(Option::is_none) {
        return Err(unknown_form(call));
    }
    Ok(given)
}

fn match_arguments(call: &Distribute) -> Result<Named<'_>> {
    let mut named = Named::default();
    for (position, (name, expression)) in call.arguments.iter().enumerate() {
        let name = match (name.as_deref(), position) {
            (Some(name), _) => name,
            (None, 0) => "table_name",
            (None, _) if call.function != DistributeFunction::CreateDistributedTable => return Err(unknown_form(call)),
            (None, 1) => "distribution_column",
            // Citus has the distribution type third, which is a string; a number is Atoll's shard count.
            (None, 2) if is_number(expression) => "shard_count",
            (None, 2) => "distribution_type",
            (None, 3) => "colocate_with",
            (None, 4) => "shard_count",
            (None, _) => return Err(unknown_form(call)),
        };
        let distributed = call.function == DistributeFunction::CreateDistributedTable;
        let slot = match name {
            "table_name" | "relation" | "table" => &mut named.table,
            "distribution_column" | "key" if distributed => &mut named.key,
            "distribution_type" if distributed => &mut named.distribution_type,
            "shard_count" if distributed => &mut named.shard_count,
            "colocate_with" if distributed => &mut named.colocate_with,
            "cascade_via_foreign_keys" if call.function == DistributeFunction::UndistributeTable => {
                if !expression.trim().eq_ignore_ascii_case("false") {
                    return Err(Error::unsupported(
                        "undistribute_table with cascade_via_foreign_keys is not supported",
                        "Tables are taken off their shards one at a time.",
                        "Drop the foreign keys, undistribute the tables, then add the foreign keys again.",
                    ));
                }
                continue;
            }
            _ => return Err(unknown_form(call)),
        };
        if slot.replace(expression).is_some() {
            return Err(Error::sql("42601", format!("argument name \"{name}\" used more than once")));
        }
    }
    Ok(named)
}

fn is_number(expression: &str) -> bool {
    expression.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(arguments: &[(Option<&str>, &str)]) -> Distribute {
        Distribute {
            function: DistributeFunction::CreateDistributedTable,
            arguments: arguments.iter().map(|(name, text)| (name.map(str::to_owned), (*text).to_owned())).collect(),
            column: String::new(),
        }
    }

    #[test]
    fn both_orders_are_understood() {
        let atoll = call(&[(None, "'t'"), (None, "'k'"), (None, "8"), (None, "'none'")]);
        let named = match_arguments(&atoll).unwrap();
        assert_eq!((named.shard_count, named.colocate_with), (Some("8"), Some("'none'")));
        let citus = call(&[(None, "'t'"), (None, "'k'"), (None, "'hash'"), (Some("shard_count"), "4")]);
        let named = match_arguments(&citus).unwrap();
        assert_eq!((named.distribution_type, named.shard_count), (Some("'hash'"), Some("4")));
        assert!(match_arguments(&call(&[(None, "'t'"), (Some("table_name"), "'t'")])).is_err());
        assert!(match_arguments(&call(&[(Some("nothing"), "1")])).is_err());
    }
}
