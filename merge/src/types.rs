//! The types that the merge computes on.

use atoll_wire::oid;
use datafusion::arrow::datatypes::DataType;

/// A PostgreSQL type that may occur in a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PgType {
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
    /// A literal whose type the context decides.
    Unknown,
    /// Carried, never looked into: any type, by OID.
    Other(u32),
}

use PgType::*;

impl PgType {
    /// The type with this OID.
    pub fn of(type_oid: u32) -> Self {
        match type_oid {
            oid::BOOL => Bool,
            oid::INT2 => Int2,
            oid::INT4 => Int4,
            oid::INT8 => Int8,
            oid::OID => Oid,
            oid::FLOAT4 => Float4,
            oid::FLOAT8 => Float8,
            oid::NUMERIC => Numeric,
            oid::TEXT => Text,
            oid::VARCHAR => Varchar,
            oid::BPCHAR => Bpchar,
            oid::NAME => Name,
            oid::BYTEA => Bytea,
            oid::DATE => Date,
            oid::TIME => Time,
            oid::TIMESTAMP => Timestamp,
            oid::TIMESTAMPTZ => Timestamptz,
            oid::UUID => Uuid,
            other => Other(other),
        }
    }

    /// Its OID; text for a literal that stayed without type, as in PostgreSQL.
    pub fn oid(self) -> u32 {
        match self {
            Bool => oid::BOOL,
            Int2 => oid::INT2,
            Int4 => oid::INT4,
            Int8 => oid::INT8,
            Oid => oid::OID,
            Float4 => oid::FLOAT4,
            Float8 => oid::FLOAT8,
            Numeric => oid::NUMERIC,
            Text | Unknown => oid::TEXT,
            Varchar => oid::VARCHAR,
            Bpchar => oid::BPCHAR,
            Name => oid::NAME,
            Bytea => oid::BYTEA,
            Date => oid::DATE,
            Time => oid::TIME,
            Timestamp => oid::TIMESTAMP,
            Timestamptz => oid::TIMESTAMPTZ,
            Uuid => oid::UUID,
            Other(other) => other,
        }
    }

    /// Its name as `format_type` prints it (what error messages say).
    pub fn name(self) -> &'static str {
        match self {
            Bool => "boolean",
            Int2 => "smallint",
            Int4 => "integer",
            Int8 => "bigint",
            Oid => "oid",
            Float4 => "real",
            Float8 => "double precision",
            Numeric => "numeric",
            Text => "text",
            Varchar => "character varying",
            Bpchar => "character",
            Name => "name",
            Bytea => "bytea",
            Date => "date",
            Time => "time without time zone",
            Timestamp => "timestamp without time zone",
            Timestamptz => "timestamp with time zone",
            Uuid => "uuid",
            Unknown => "unknown",
            Other(_) => "another type",
        }
    }

    /// The Arrow type that carries it.
    pub fn arrow(self) -> DataType {
        atoll_wire::rows::typed(self.oid())
    }

    pub(crate) fn is_integer(self) -> bool {
        matches!(self, Int2 | Int4 | Int8)
    }

    pub(crate) fn is_text(self) -> bool {
        matches!(self, Text | Varchar | Bpchar | Name)
    }

    /// The place in PostgreSQL's order of implicit conversions between numbers; None for what is no number.
    pub(crate) fn tower(self) -> Option<u8> {
        Some(match self {
            Int2 => 0,
            Int4 => 1,
            Int8 => 2,
            Numeric => 3,
            Float4 => 4,
            Float8 => 5,
            _ => return None,
        })
    }

    /// The type that CASE, COALESCE and UNION give for branches of these two.
    pub(crate) fn common(self, other: Self) -> Option<Self> {
        match (self, other) {
            (left, right) if left == right => Some(left),
            (Unknown, known) | (known, Unknown) => Some(known),
            // Neither is preferred; varchar becomes text, which is.
            (Text, Varchar) | (Varchar, Text) => Some(Text),
            (left, right) => Some(if left.tower()? >= right.tower()? { left } else { right }),
        }
    }

    /// The type in which PostgreSQL's operators compare or combine these two numbers.
    pub(crate) fn operands(self, other: Self) -> Option<Self> {
        let (left, right) = (self.tower()?, other.tower()?);
        Some(match self {
            same if same == other => same,
            // Two integer types have operators of their own; an integer or numeric with a float makes float8 of both.
            _ if left >= 4 || right >= 4 => Float8,
            wider if left > right => wider,
            _ => other,
        })
    }
}
