//! Type names in SQL.

use datafusion::sql::sqlparser::ast::{DataType, ExactNumberInfo, TimezoneInfo};

use crate::compile::{Result, fold};
use crate::error::refuse;
use crate::types::PgType;

/// The type and modifier that a name means.
///
/// # Errors
/// For types, lengths and precisions that the merge does not compute on.
pub fn type_of(name: &DataType) -> Result<(PgType, i32)> {
    let ty = match name {
        DataType::SmallInt(None) | DataType::Int2(None) => PgType::Int2,
        DataType::Int(None) | DataType::Integer(None) | DataType::Int4(None) => PgType::Int4,
        DataType::BigInt(None) | DataType::Int8(None) => PgType::Int8,
        DataType::Float4 | DataType::Real => PgType::Float4,
        DataType::Float8
        | DataType::DoublePrecision
        | DataType::Double(ExactNumberInfo::None)
        | DataType::Float(ExactNumberInfo::None) => PgType::Float8,
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => {
            return Ok((PgType::Numeric, numeric_typmod(info)?));
        }
        DataType::Text => PgType::Text,
        DataType::Varchar(None) | DataType::CharacterVarying(None) => PgType::Varchar,
        DataType::Bool | DataType::Boolean => PgType::Bool,
        DataType::Bytea => PgType::Bytea,
        DataType::Date => PgType::Date,
        DataType::Uuid => PgType::Uuid,
        DataType::Time(None, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => PgType::Time,
        DataType::Timestamp(None, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => PgType::Timestamp,
        DataType::Timestamp(None, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => PgType::Timestamptz,
        DataType::Custom(path, modifiers) if modifiers.is_empty() => {
            let parts: Vec<String> = path.0.iter().filter_map(|part| part.as_ident()).map(fold).collect();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            match parts.as_slice() {
                [known] | ["pg_catalog", known] => match *known {
                    "int2" => PgType::Int2,
                    "int4" => PgType::Int4,
                    "int8" => PgType::Int8,
                    "float4" => PgType::Float4,
                    "float8" => PgType::Float8,
                    "numeric" => PgType::Numeric,
                    "bool" => PgType::Bool,
                    "text" => PgType::Text,
                    "varchar" => PgType::Varchar,
                    "bpchar" => PgType::Bpchar,
                    "name" => PgType::Name,
                    "oid" => PgType::Oid,
                    "date" => PgType::Date,
                    "uuid" => PgType::Uuid,
                    "timestamp" => PgType::Timestamp,
                    "timestamptz" => PgType::Timestamptz,
                    _ => refuse!("type {name}"),
                },
                _ => refuse!("type {name}"),
            }
        }
        other => refuse!("type {other}"),
    };
    Ok((ty, -1))
}

/// `numeric(p, s)` as PostgreSQL stores it.
fn numeric_typmod(info: &ExactNumberInfo) -> Result<i32> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Ok(-1),
        ExactNumberInfo::Precision(precision) => (i64::try_from(*precision).unwrap_or(0), 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (i64::try_from(*precision).unwrap_or(0), *scale),
    };
    if !(1..=1000).contains(&precision) || !(-1000..=1000).contains(&scale) {
        refuse!("numeric({precision}, {scale})");
    }
    let typmod = ((precision << 16) | (scale & 0x7FF)) + 4;
    i32::try_from(typmod).map_or_else(|_| refuse!("numeric({precision}, {scale})"), Ok)
}

/// The type's name in `pg_type`, which PostgreSQL takes for the name of an unnamed column with a cast.
pub fn short_name(ty: PgType) -> &'static str {
    match ty {
        PgType::Int2 => "int2",
        PgType::Int4 => "int4",
        PgType::Int8 => "int8",
        PgType::Float4 => "float4",
        PgType::Float8 => "float8",
        PgType::Bool => "bool",
        PgType::Varchar => "varchar",
        PgType::Bpchar => "bpchar",
        PgType::Time => "time",
        PgType::Timestamp => "timestamp",
        PgType::Timestamptz => "timestamptz",
        other => other.name(),
    }
}
