//! The verified list: all that the merge computes, and nothing else.
//!
//! An expression is admitted only if every operator, cast, function and aggregate in it stands here. `tests/differential/`
//! runs every entry against a plain PostgreSQL over random values and the edges of each type, and compares the printed
//! results, SQLSTATEs and messages; an entry without a kernel fails there, so the list cannot promise more than there is.
//!
//! Mixed numbers are brought to one type first, as PostgreSQL does ([`crate::types::PgType`]); the implicit casts for
//! that are listed, too.

use crate::types::PgType::{self, *};

/// `left symbol right`, both of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operator {
    pub symbol: &'static str,
    pub operands: PgType,
    pub result: PgType,
}

const fn operator(symbol: &'static str, operands: PgType, result: PgType) -> Operator {
    Operator { symbol, operands, result }
}

/// Arithmetic. Overflow is 22003, a zero divisor 22012.
pub const ARITHMETIC: &[Operator] = &[
    operator("+", Int2, Int2),
    operator("-", Int2, Int2),
    operator("*", Int2, Int2),
    operator("/", Int2, Int2),
    operator("%", Int2, Int2),
    operator("+", Int4, Int4),
    operator("-", Int4, Int4),
    operator("*", Int4, Int4),
    operator("/", Int4, Int4),
    operator("%", Int4, Int4),
    operator("+", Int8, Int8),
    operator("-", Int8, Int8),
    operator("*", Int8, Int8),
    operator("/", Int8, Int8),
    operator("%", Int8, Int8),
    operator("+", Numeric, Numeric),
    operator("-", Numeric, Numeric),
    operator("*", Numeric, Numeric),
    operator("/", Numeric, Numeric),
    operator("+", Float4, Float4),
    operator("-", Float4, Float4),
    operator("*", Float4, Float4),
    operator("/", Float4, Float4),
    operator("+", Float8, Float8),
    operator("-", Float8, Float8),
    operator("*", Float8, Float8),
    operator("/", Float8, Float8),
];

/// Comparison operators, for every type of [`ORDERED`]: also IS [NOT] DISTINCT FROM, BETWEEN, IN and NULLIF.
pub const COMPARISONS: &[&str] = &["=", "<>", "<", "<=", ">", ">="];

/// Types with an order: ORDER BY, comparisons, GROUP BY, DISTINCT. Text needs a collation that compares bytes (or
/// `COLLATE "C"`); bpchar ignores trailing blanks; NaN is greatest; -0 equals 0; 1.0 equals 1.00.
pub const ORDERED: &[PgType] = &[
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Numeric,
    Text,
    Varchar,
    Bpchar,
    Name,
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Uuid,
];

/// A conversion, explicit or implicit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    pub from: PgType,
    pub to: PgType,
}

const fn cast(from: PgType, to: PgType) -> Cast {
    Cast { from, to }
}

pub const CASTS: &[Cast] = &[
    cast(Int2, Int4),
    cast(Int2, Int8),
    cast(Int2, Numeric),
    cast(Int2, Float4),
    cast(Int2, Float8),
    cast(Int4, Int2),
    cast(Int4, Int8),
    cast(Int4, Numeric),
    cast(Int4, Float4),
    cast(Int4, Float8),
    cast(Int8, Int2),
    cast(Int8, Int4),
    cast(Int8, Numeric),
    cast(Int8, Float4),
    cast(Int8, Float8),
    cast(Numeric, Int2),
    cast(Numeric, Int4),
    cast(Numeric, Int8),
    cast(Numeric, Float4),
    cast(Numeric, Float8),
    cast(Float4, Int2),
    cast(Float4, Int4),
    cast(Float4, Int8),
    cast(Float4, Numeric),
    cast(Float4, Float8),
    cast(Float8, Int2),
    cast(Float8, Int4),
    cast(Float8, Int8),
    cast(Float8, Numeric),
    cast(Float8, Float4),
    cast(Varchar, Text),
    cast(Text, Varchar),
    cast(Name, Text),
];

/// A function of one or two arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    pub name: &'static str,
    pub arguments: &'static [PgType],
    pub result: PgType,
}

const fn function(name: &'static str, arguments: &'static [PgType], result: PgType) -> Function {
    Function { name, arguments, result }
}

/// Functions; `-` stands for the sign.
pub const FUNCTIONS: &[Function] = &[
    function("-", &[Int2], Int2),
    function("-", &[Int4], Int4),
    function("-", &[Int8], Int8),
    function("-", &[Numeric], Numeric),
    function("-", &[Float4], Float4),
    function("-", &[Float8], Float8),
    function("abs", &[Int2], Int2),
    function("abs", &[Int4], Int4),
    function("abs", &[Int8], Int8),
    function("abs", &[Numeric], Numeric),
    function("abs", &[Float4], Float4),
    function("abs", &[Float8], Float8),
    function("round", &[Numeric], Numeric),
    function("round", &[Numeric, Int4], Numeric),
];

/// An aggregate of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aggregate {
    pub name: &'static str,
    pub argument: PgType,
    pub result: PgType,
}

const fn aggregate(name: &'static str, argument: PgType, result: PgType) -> Aggregate {
    Aggregate { name, argument, result }
}

/// Aggregates; `count(*)` and `count` of anything come on top. FILTER goes with all of them, DISTINCT with all but sums of floats
/// (one DISTINCT argument per query).
pub const AGGREGATES: &[Aggregate] = &[
    aggregate("sum", Int2, Int8),
    aggregate("sum", Int4, Int8),
    aggregate("sum", Int8, Numeric),
    aggregate("sum", Numeric, Numeric),
    aggregate("sum", Float4, Float4),
    aggregate("sum", Float8, Float8),
    aggregate("avg", Int2, Numeric),
    aggregate("avg", Int4, Numeric),
    aggregate("avg", Int8, Numeric),
    aggregate("avg", Numeric, Numeric),
    aggregate("min", Int2, Int2),
    aggregate("min", Int4, Int4),
    aggregate("min", Int8, Int8),
    aggregate("min", Oid, Oid),
    aggregate("min", Float4, Float4),
    aggregate("min", Float8, Float8),
    aggregate("min", Numeric, Numeric),
    aggregate("min", Text, Text),
    aggregate("min", Bpchar, Bpchar),
    aggregate("min", Date, Date),
    aggregate("min", Time, Time),
    aggregate("min", Timestamp, Timestamp),
    aggregate("min", Timestamptz, Timestamptz),
    aggregate("max", Int2, Int2),
    aggregate("max", Int4, Int4),
    aggregate("max", Int8, Int8),
    aggregate("max", Oid, Oid),
    aggregate("max", Float4, Float4),
    aggregate("max", Float8, Float8),
    aggregate("max", Numeric, Numeric),
    aggregate("max", Text, Text),
    aggregate("max", Bpchar, Bpchar),
    aggregate("max", Date, Date),
    aggregate("max", Time, Time),
    aggregate("max", Timestamp, Timestamp),
    aggregate("max", Timestamptz, Timestamptz),
    aggregate("bool_and", Bool, Bool),
    aggregate("bool_or", Bool, Bool),
    aggregate("every", Bool, Bool),
    aggregate("bit_and", Int2, Int2),
    aggregate("bit_and", Int4, Int4),
    aggregate("bit_and", Int8, Int8),
    aggregate("bit_or", Int2, Int2),
    aggregate("bit_or", Int4, Int4),
    aggregate("bit_or", Int8, Int8),
    aggregate("bit_xor", Int2, Int2),
    aggregate("bit_xor", Int4, Int4),
    aggregate("bit_xor", Int8, Int8),
];

pub(crate) fn arithmetic(symbol: &str, operands: PgType) -> Option<&'static Operator> {
    ARITHMETIC.iter().find(|operator| operator.symbol == symbol && operator.operands == operands)
}

pub(crate) fn is_ordered(ty: PgType) -> bool {
    ORDERED.contains(&ty)
}

pub(crate) fn is_cast(from: PgType, to: PgType) -> bool {
    CASTS.contains(&Cast { from, to })
}

pub(crate) fn aggregate_of(name: &str, argument: PgType) -> Option<&'static Aggregate> {
    AGGREGATES.iter().find(|aggregate| aggregate.name == name && aggregate.argument == argument)
}

pub(crate) fn function_of(name: &str, arguments: &[PgType]) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name && function.arguments == arguments)
}
