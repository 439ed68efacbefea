//! The rows of the 24 tables: a thin sample of what TPC-DS's generator makes at its scale 1.
//!
//! Sales and returns are those of a few hundred orders. The dimensions they refer to are cut down, too, and references beyond what is kept
//! are folded onto it: so the same customers buy the same items again and again, in every channel, and the queries find what they look for.

use std::collections::HashSet;
use std::iter;
use std::ops::RangeInclusive;

use anyhow::{Context, Result, ensure};
use tpcdsgen::config::{Session, Table};

/// The rows of a dimension that are kept: every so many of the generator's.
#[derive(Debug)]
struct Kept {
    first_key: u64,
    every: u64,
    count: u64,
}

impl Kept {
    const fn first(count: u64) -> Kept {
        Kept { first_key: 1, every: 1, count }
    }

    fn rows(&self) -> Vec<RangeInclusive<u64>> {
        slices(self.every, 1, self.count)
    }

    /// The kept row that stands for a row of the generator's. What is kept stands for itself.
    fn fold(&self, key: u64) -> u64 {
        self.first_key + (key - self.first_key) / self.every % self.count * self.every
    }
}

const CUSTOMERS: Kept = Kept::first(100);
const ADDRESSES: Kept = Kept::first(300);
/// A multiple of six: so often the pattern of revisions repeats, and sales keep to the revision of their date.
const ITEMS: Kept = Kept::first(240);
// Demographics count through their attributes; a prime that divides none of their numbers meets all values of each.
const CUSTOMER_DEMOGRAPHICS: Kept = Kept { first_key: 1, every: 337, count: 5699 };
const HOUSEHOLD_DEMOGRAPHICS: Kept = Kept { first_key: 1, every: 7, count: 1028 };
/// Whole minutes.
const TIMES: Kept = Kept { first_key: 0, every: 60, count: 1440 };
const CATALOG_PAGES: Kept = Kept { first_key: 1, every: 60, count: 195 };
/// 1997 to 2003: all that sales, shipments and returns refer to.
const DATES: RangeInclusive<u64> = 35_429..=37_984;

const TICKETS: RangeInclusive<u64> = 1..=800;
const WEB_ORDERS: RangeInclusive<u64> = 1..=350;
/// Inventory is taken weekly at every warehouse, of 9000 items.
const INVENTORIES: u64 = 261 * 5;
const INVENTORY_ITEMS: u64 = 9000;
const INVENTORY_ITEMS_KEPT: u64 = 24;

/// What a column refers to, as its name says; `None` when all that it can refer to is kept.
fn referred(column: &str) -> Option<&'static Kept> {
    const SUFFIXES: [(&str, &Kept); 7] = [
        ("_customer_sk", &CUSTOMERS),
        ("_addr_sk", &ADDRESSES),
        ("_item_sk", &ITEMS),
        ("_cdemo_sk", &CUSTOMER_DEMOGRAPHICS),
        ("_hdemo_sk", &HOUSEHOLD_DEMOGRAPHICS),
        ("_time_sk", &TIMES),
        ("_catalog_page_sk", &CATALOG_PAGES),
    ];
    SUFFIXES.iter().find(|(suffix, _)| column.ends_with(suffix)).map(|(_, kept)| *kept)
}

/// `count` slices of `length` rows, one every so many rows.
fn slices(every: u64, length: u64, count: u64) -> Vec<RangeInclusive<u64>> {
    (0..count).map(|index| index * every + 1..=index * every + length).collect()
}

/// The generator's lines for some of its source rows.
macro_rules! lines {
    ($generator:ident, $slices:expr) => {{
        let session = Session::default();
        let mut lines = Vec::new();
        for rows in $slices {
            // A generator goes through one slice.
            let mut generator = tpcdsgen::row::$generator::new(session.clone(), *rows.end());
            generator.set_source_row_range(*rows.start(), *rows.end());
            lines.extend(generator.map(|row| row.to_string()));
        }
        lines
    }};
}

/// Name and rows of every table, as `COPY ... (DELIMITER '|', NULL '')` reads them; `schema` holds the tables' definitions.
///
/// # Errors
/// When the schema does not fit the rows.
pub fn tables(schema: &str) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let whole = |table| iter::once(1..=Session::default().get_scaling().get_row_count(table));
    // The catalog's orders come in the order of their dates.
    let catalog_orders = || slices(1250, 5, 128);
    let inventories = slices(INVENTORY_ITEMS, INVENTORY_ITEMS_KEPT, INVENTORIES);
    let made = [
        ("call_center", lines!(CallCenterRowGenerator, whole(Table::CallCenter))),
        ("catalog_page", lines!(CatalogPageRowGenerator, CATALOG_PAGES.rows())),
        ("catalog_returns", lines!(CatalogReturnsRowGenerator, catalog_orders())),
        ("catalog_sales", lines!(CatalogSalesRowGenerator, catalog_orders())),
        ("customer", lines!(CustomerRowGenerator, CUSTOMERS.rows())),
        ("customer_address", lines!(CustomerAddressRowGenerator, ADDRESSES.rows())),
        ("customer_demographics", lines!(CustomerDemographicsRowGenerator, CUSTOMER_DEMOGRAPHICS.rows())),
        ("date_dim", lines!(DateDimRowGenerator, iter::once(DATES))),
        ("household_demographics", lines!(HouseholdDemographicsRowGenerator, HOUSEHOLD_DEMOGRAPHICS.rows())),
        ("income_band", lines!(IncomeBandRowGenerator, whole(Table::IncomeBand))),
        ("inventory", lines!(InventoryRowGenerator, inventories)),
        ("item", lines!(ItemRowGenerator, ITEMS.rows())),
        ("promotion", lines!(PromotionRowGenerator, whole(Table::Promotion))),
        ("reason", lines!(ReasonRowGenerator, whole(Table::Reason))),
        ("ship_mode", lines!(ShipModeRowGenerator, whole(Table::ShipMode))),
        ("store", lines!(StoreRowGenerator, whole(Table::Store))),
        ("store_returns", lines!(StoreReturnsRowGenerator, iter::once(TICKETS))),
        ("store_sales", lines!(StoreSalesRowGenerator, iter::once(TICKETS))),
        ("time_dim", lines!(TimeDimRowGenerator, TIMES.rows())),
        ("warehouse", lines!(WarehouseRowGenerator, whole(Table::Warehouse))),
        ("web_page", lines!(WebPageRowGenerator, whole(Table::WebPage))),
        ("web_returns", lines!(WebReturnsRowGenerator, iter::once(WEB_ORDERS))),
        ("web_sales", lines!(WebSalesRowGenerator, iter::once(WEB_ORDERS))),
        ("web_site", lines!(WebSiteRowGenerator, whole(Table::WebSite))),
    ];
    made.into_iter()
        .map(|(name, lines)| {
            let rows = folded(schema, name, &lines).with_context(|| format!("rows of {name}"))?;
            Ok((name, rows))
        })
        .collect()
}

/// The lines with their references folded. Of lines whose keys become the same that way, the first is kept.
fn folded(schema: &str, table: &str, lines: &[String]) -> Result<Vec<u8>> {
    let start = format!("CREATE TABLE {table} (\n");
    let (_, definition) = schema.split_once(&start).context("no such table in the schema")?;
    let (columns, key) = definition.split_once("    PRIMARY KEY (").context("a table without a key")?;
    let (key, _) = key.split_once(')').context("a key without an end")?;
    let columns: Vec<&str> = columns.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let is_key: Vec<bool> = columns.iter().map(|column| key.split(", ").any(|part| part == *column)).collect();

    let mut seen = HashSet::new();
    let mut out = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.strip_suffix('|').context("a line without an end")?.split('|').collect();
        ensure!(fields.len() == columns.len(), "{} columns, but {line}", columns.len());
        let mut row = Vec::new();
        for (field, column) in fields.into_iter().zip(&columns) {
            row.push(match (field, referred(column)) {
                // Some tables' lines spell it out.
                ("NULL" | "", _) => String::new(),
                (field, Some(kept)) => kept.fold(field.parse()?).to_string(),
                (field, None) => field.to_owned(),
            });
        }
        let key: Vec<String> =
            row.iter().zip(&is_key).filter(|(_, is_key)| **is_key).map(|(field, _)| field.clone()).collect();
        if seen.insert(key) {
            out.extend_from_slice(row.join("|").as_bytes());
            out.push(b'\n');
        }
    }
    Ok(out)
}
