//! Random tables and views.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::ast::{TYPES, Ty};
use super::data;

/// Types that a table may be distributed by, as far as they are generated.
const KEY_TYPES: [Ty; 8] = [Ty::Int4, Ty::Int8, Ty::Int4, Ty::Text, Ty::Uuid, Ty::Int2, Ty::Date, Ty::Numeric];

#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: String,
    pub ty: Ty,
    /// Holds extreme values: good for comparisons, not for arithmetic.
    pub extreme: bool,
    pub not_null: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Distributed by this column.
    Distributed(String),
    Reference,
    Unsharded,
}

#[derive(Debug, Clone)]
pub struct Table {
    pub name: String,
    pub kind: Kind,
    /// The first is `id int4`, without two equal values.
    pub columns: Vec<Column>,
    pub has_primary_key: bool,
    /// SQL values.
    pub rows: Vec<Vec<String>>,
    /// Whether rows are there before the table is distributed.
    pub filled_first: bool,
}

#[derive(Debug, Clone)]
pub struct View {
    pub name: String,
    pub columns: Vec<Column>,
    /// The table that it reads.
    pub table: String,
    pub definition: String,
}

#[derive(Debug, Clone)]
pub struct Schema {
    pub tables: Vec<Table>,
    pub views: Vec<View>,
    pub time_zone: &'static str,
    /// A further setting, of how values look; may be empty.
    pub format: &'static str,
    /// Who merges on the cluster.
    pub merge_engine: &'static str,
    /// Whether aggregates are computed in part before joins wherever that is right.
    pub early_aggregation: bool,
}

impl Schema {
    /// A schema of three to six tables with their rows.
    #[must_use]
    pub fn random(rng: &mut StdRng) -> Schema {
        let key = *KEY_TYPES.choose(rng).unwrap_or(&Ty::Int4);
        let mut tables = vec![table(rng, "a", key, Some("k")), table(rng, "b", key, Some("k"))];
        let other = *[Ty::Int4, Ty::Int8, Ty::Text].choose(rng).unwrap_or(&Ty::Int4);
        let mut off_key = table(rng, "c", key, None);
        off_key.columns.push(Column { name: "o".to_owned(), ty: other, extreme: false, not_null: true });
        off_key.kind = Kind::Distributed(if rng.random_bool(0.3) { "id" } else { "o" }.to_owned());
        tables.push(off_key);
        let mut reference = table(rng, "r", key, None);
        reference.kind = Kind::Reference;
        let mut more = vec![reference, table(rng, "u", key, None), table(rng, "e", key, Some("k"))];
        more.shuffle(rng);
        more.truncate(rng.random_range(0..=3));
        tables.extend(more);
        for table in &mut tables {
            data::fill(rng, table);
        }
        let views = (0..rng.random_range(0..=2)).map(|number| view(rng, number, &tables)).collect();
        let time_zone = ["UTC", "UTC", "America/New_York", "Asia/Kolkata"].choose(rng).unwrap_or(&"UTC");
        let merge_engine = if rng.random_bool(0.25) { "postgres" } else { "auto" };
        let formats = [
            "",
            "",
            "SET DateStyle = 'German'",
            "SET DateStyle = 'SQL, DMY'",
            "SET DateStyle = 'Postgres, MDY'",
            "SET IntervalStyle = 'iso_8601'",
            "SET bytea_output = 'escape'",
            "SET extra_float_digits = 0",
        ];
        let format = formats.choose(rng).unwrap_or(&"");
        let early_aggregation = rng.random_bool(0.5);
        Schema { tables, views, time_zone, format, merge_engine, early_aggregation }
    }

    /// The statements that set `merge_engine` and `early_aggregation`.
    #[must_use]
    pub fn cluster_setting(&self) -> String {
        let early = if self.early_aggregation { "always" } else { "auto" };
        format!("SET atoll.merge_engine = '{}'; SET atoll.early_aggregation = '{early}'", self.merge_engine)
    }

    #[must_use]
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }
}

fn table(rng: &mut StdRng, name: &str, key: Ty, distributed_by: Option<&str>) -> Table {
    let column = |name: &str, ty, not_null| Column { name: name.to_owned(), ty, extreme: false, not_null };
    let mut columns = vec![column("id", Ty::Int4, true), column("k", key, distributed_by.is_some())];
    for _ in 0..rng.random_range(2..=6) {
        // The product favours the common types.
        let at = rng.random_range(0.0..1.0_f64) * rng.random_range(0.5..1.0_f64) * TYPES.len() as f64;
        let ty = TYPES.get(at as usize).copied().unwrap_or(Ty::Int4);
        let extreme = rng.random_bool(0.15);
        let short = match ty {
            Ty::Int2 => "i2",
            Ty::Int4 => "i4",
            Ty::Int8 => "i8",
            Ty::Numeric => "n",
            Ty::Float8 => "f",
            Ty::Text => "t",
            Ty::Bool => "b",
            Ty::Date => "d",
            Ty::Timestamp => "ts",
            Ty::TimestampTz => "tz",
            Ty::Uuid => "u",
            Ty::Jsonb => "j",
            Ty::IntArray => "ia",
            Ty::Interval => "iv",
            Ty::Bytea => "by",
            Ty::Mood => "m",
        };
        let name = format!("{short}{}", if extreme { "x" } else { "" });
        if !columns.iter().any(|column: &Column| column.name == name) {
            columns.push(Column { name, ty, extreme, not_null: rng.random_bool(0.1) });
        }
    }
    if rng.random_bool(0.25) {
        columns.push(column("\"Order\"", Ty::Text, false));
    }
    let kind = distributed_by.map_or(Kind::Unsharded, |column| Kind::Distributed(column.to_owned()));
    Table {
        name: name.to_owned(),
        kind,
        columns,
        has_primary_key: rng.random_bool(0.5),
        rows: Vec::new(),
        filled_first: rng.random_bool(0.3),
    }
}

/// A view over one table: some of its rows, or its rows grouped by the key.
fn view(rng: &mut StdRng, number: u32, tables: &[Table]) -> View {
    let table = &tables[rng.random_range(0..tables.len())];
    let key = table.columns[1].clone();
    let name = format!("v{number}");
    let column = |name: &str, ty| Column { name: name.to_owned(), ty, extreme: false, not_null: false };
    // Other joins are refused when the view is made.
    if table.kind == Kind::Distributed("k".to_owned()) && rng.random_bool(0.5) {
        let columns = vec![column("id", Ty::Int4), key, column("other", Ty::Int4)];
        let on = "x.k = y.k";
        let definition = format!("SELECT x.id, x.k, y.id AS other FROM {} x LEFT JOIN b y ON {on}", table.name);
        return View { name, columns, table: table.name.clone(), definition };
    }
    if rng.random_bool(0.5) {
        let columns = table.columns.clone();
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let definition = format!("SELECT {} FROM {} WHERE id % 3 <> 1", names.join(", "), table.name);
        return View { name, columns, table: table.name.clone(), definition };
    }
    let columns = vec![column("id", Ty::Int4), key, column("i8", Ty::Int8)];
    let definition = format!("SELECT min(id) AS id, k, count(*) AS i8 FROM {} GROUP BY k", table.name);
    View { name, columns, table: table.name.clone(), definition }
}

/// What the tables need first.
pub const TYPE_DEFINITION: &str = "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'Not so')";

impl Table {
    /// `CREATE TABLE` for the columns.
    #[must_use]
    pub fn create(&self) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|column| {
                let ty = match column.ty {
                    Ty::Numeric if !column.extreme => "numeric(14,2)",
                    Ty::Text if column.not_null && column.name != "o" => "varchar(200)",
                    ty => ty.name(),
                };
                format!("{} {ty}{}", column.name, if column.not_null { " NOT NULL" } else { "" })
            })
            .collect();
        let key = self.primary_key();
        let key = if key.is_empty() { String::new() } else { format!(", PRIMARY KEY ({})", key.join(", ")) };
        format!("CREATE TABLE {} ({}{key})", self.name, columns.join(", "))
    }

    /// Its columns, the distribution key among them; none without one.
    #[must_use]
    pub fn primary_key(&self) -> Vec<&str> {
        match &self.kind {
            _ if !self.has_primary_key => Vec::new(),
            Kind::Distributed(key) if key != "id" => vec![key, "id"],
            _ => vec!["id"],
        }
    }

    /// One `INSERT` of the given rows; `None` when there are none.
    #[must_use]
    pub fn insert(&self, rows: &[Vec<String>]) -> Option<String> {
        let rows: Vec<String> = rows.iter().map(|row| format!("({})", row.join(", "))).collect();
        (!rows.is_empty()).then(|| format!("INSERT INTO {} VALUES {}", self.name, rows.join(", ")))
    }

    /// What makes a cluster distribute it; `None` for an unsharded table.
    #[must_use]
    pub fn distribute(&self) -> Option<String> {
        match &self.kind {
            Kind::Distributed(column) => Some(format!("SELECT create_distributed_table('{}', '{column}')", self.name)),
            Kind::Reference => Some(format!("SELECT create_reference_table('{}')", self.name)),
            Kind::Unsharded => None,
        }
    }
}
