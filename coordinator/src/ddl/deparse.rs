//! A table's whole definition, read from the catalog database, as statements that make it again elsewhere.
//!
//! PostgreSQL's own `pg_get_*def` functions print the parts. They are asked under a search_path of the table's schema alone, so that
//! what is in that schema prints without it (and then means the slice), and everything else prints with its schema (and is
//! spliced when it is distributed).

use std::fmt::Write as _;

use atoll_planner::directory::{KeyColumn, TableName};
use atoll_planner::{quote_identifier, quote_literal};

use super::Scope;
use super::rows::{qualified, regclass};
use crate::directory::rows::{Row, Rows};
use crate::error::{Error, Result};
use crate::place::Place;

/// What a table is made of.
#[derive(Clone, Debug)]
pub(super) struct Definition {
    pub name: TableName,
    pub owner: String,
    pub columns: Vec<ColumnDefinition>,
    /// Sequences that its columns own.
    pub sequences: Vec<OwnedSequence>,
    unlogged: bool,
    options: Option<String>,
    access_method: String,
    constraints: Vec<Constraint>,
    indexes: Vec<String>,
    /// Extended statistics: schema, and the statement's text after the dot.
    statistics: Vec<(String, String)>,
    /// Triggers, policies, owner, grants, and what the table is marked with.
    rest: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct ColumnDefinition {
    pub name: String,
    pub generated: bool,
    /// Its type has the same OID in every database, and so may travel in binary.
    pub built_in: bool,
    type_name: String,
    collation: Option<String>,
    not_null: bool,
    default: Option<String>,
    reads_sequence: bool,
    identity: Option<Identity>,
    /// `ALTER TABLE` actions.
    settings: Vec<String>,
}

#[derive(Clone, Debug)]
struct Identity {
    always: bool,
    /// The sequence's name and options, for use in parentheses.
    options: String,
}

#[derive(Clone, Debug)]
pub(super) struct OwnedSequence {
    pub name: TableName,
    pub column: String,
    /// It belongs to an identity column, and cannot live without it; otherwise to a serial one.
    pub identity: bool,
    /// `AS type START WITH ...`
    pub options: String,
}

#[derive(Clone, Debug)]
struct Constraint {
    kind: ConstraintKind,
    valid: bool,
    /// `ADD CONSTRAINT ...`
    action: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConstraintKind {
    Check,
    Index,
    ForeignKey,
}

/// Where a definition is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Home, where the sequences are.
    Home,
    /// Slices and copies: values from sequences are computed by the coordinator, before a row is routed.
    Elsewhere,
}

/// `oid` of the table; each query's result is told by its position.
fn queries(oid: &str) -> String {
    format!(
        "SELECT relpersistence, reloptions_text, amname, pg_get_userbyid(relowner), relreplident, relrowsecurity, relforcerowsecurity \
         FROM (SELECT class.*, (SELECT string_agg(option, ', ') FROM ( \
                 SELECT quote_ident(split_part(o, '=', 1)) || ' = ' || quote_literal(substr(o, strpos(o, '=') + 1)) AS option \
                 FROM unnest(class.reloptions) AS o \
                 UNION ALL \
                 SELECT 'toast.' || quote_ident(split_part(o, '=', 1)) || ' = ' || quote_literal(substr(o, strpos(o, '=') + 1)) \
                 FROM pg_class AS toast, unnest(toast.reloptions) AS o WHERE toast.oid = class.reltoastrelid) AS all_options) AS reloptions_text \
             FROM pg_class AS class WHERE class.oid = {oid}) AS class LEFT JOIN pg_am ON pg_am.oid = relam; \
         SELECT attname, format_type(atttypid, atttypmod), \
             CASE WHEN attcollation <> typcollation THEN quote_ident(collation_namespace.nspname) || '.' || quote_ident(collname) END, \
             attnotnull, pg_get_expr(adbin, adrelid), attgenerated, attidentity, \
             CASE WHEN attstorage <> typstorage THEN \
                 CASE attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END END, \
             CASE attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END, attstattarget, array_to_string(attoptions, ', '), \
             atttypid < 16384, \
             EXISTS (SELECT FROM pg_depend JOIN pg_class AS sequence ON sequence.oid = refobjid AND sequence.relkind = 'S' \
                 WHERE classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass) \
         FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid \
         LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum \
         LEFT JOIN pg_collation ON pg_collation.oid = attcollation \
         LEFT JOIN pg_namespace AS collation_namespace ON collation_namespace.oid = collnamespace \
         WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped ORDER BY attnum; \
         SELECT conname, contype, convalidated, pg_get_constraintdef(oid, true) FROM pg_constraint \
         WHERE conrelid = {oid} AND contype IN ('c', 'p', 'u', 'x', 'f') ORDER BY contype = 'f', conname; \
         SELECT index_class.relname, pg_get_indexdef(indexrelid, 0, true), indisclustered, indisreplident, \
             EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND conrelid = indrelid AND contype IN ('p', 'u', 'x')) \
         FROM pg_index JOIN pg_class AS index_class ON index_class.oid = indexrelid \
         WHERE indrelid = {oid} AND indisvalid ORDER BY index_class.relname; \
         SELECT nspname, stxname, pg_get_statisticsobjdef(stat.oid), stxstattarget \
         FROM pg_statistic_ext AS stat JOIN pg_namespace ON pg_namespace.oid = stxnamespace WHERE stxrelid = {oid} ORDER BY stxname; \
         SELECT tgname, pg_get_triggerdef(oid, true), tgenabled FROM pg_trigger WHERE tgrelid = {oid} AND NOT tgisinternal ORDER BY tgname; \
         SELECT polname, polcmd, polpermissive, \
             (SELECT string_agg(CASE role WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(role)) END, ', ') FROM unnest(polroles) AS role), \
             pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid) \
         FROM pg_policy WHERE polrelid = {oid} ORDER BY polname; \
         SELECT NULL, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END, privilege_type, is_grantable \
         FROM pg_class, aclexplode(relacl) WHERE oid = {oid} \
         UNION ALL \
         SELECT attname, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END, privilege_type, is_grantable \
         FROM pg_attribute, aclexplode(attacl) WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped; \
         SELECT nspname, relname, attname, deptype, format_type(seqtypid, NULL), seqstart, seqincrement, seqmin, seqmax, seqcache, seqcycle \
         FROM pg_depend JOIN pg_class ON pg_class.oid = objid AND relkind = 'S' JOIN pg_namespace ON pg_namespace.oid = relnamespace \
         JOIN pg_sequence ON seqrelid = pg_class.oid JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid \
         WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND refobjid = {oid} AND deptype IN ('a', 'i')"
    )
}

impl Definition {
    /// Reads a table's definition from the catalog database.
    ///
    /// # Errors
    /// 42P01 when there is no such table.
    pub(super) async fn read(scope: &mut Scope<'_>, name: &TableName) -> Result<Self> {
        let path = quote_identifier(&name.schema);
        let results = scope.tx.run(Place::CATALOG, Some(&path), &queries(&regclass(name))).await?;
        let [class, columns, constraints, indexes, statistics, triggers, policies, grants, sequences] =
            results.as_slice()
        else {
            return Err(Error::internal("the catalog answered oddly"));
        };
        let class = Rows::new(class).only()?;
        let table = quote_identifier(&name.name);
        let owner = quote_identifier(class.text(3)?);
        let mut definition = Self {
            name: name.clone(),
            owner: owner.clone(),
            columns: Vec::new(),
            sequences: Vec::new(),
            unlogged: class.text(0)? == "u",
            options: class.maybe(1).map(str::to_owned),
            access_method: class.maybe(2).unwrap_or("heap").to_owned(),
            constraints: Vec::new(),
            indexes: Vec::new(),
            statistics: Vec::new(),
            rest: Vec::new(),
        };
        for row in Rows::new(columns) {
            definition.columns.push(column(row)?);
        }
        for row in Rows::new(sequences) {
            definition.sequence(row)?;
        }
        for row in Rows::new(constraints) {
            let kind = match row.text(1)? {
                "c" => ConstraintKind::Check,
                "f" => ConstraintKind::ForeignKey,
                _ => ConstraintKind::Index,
            };
            let action = format!("ADD CONSTRAINT {} {}", quote_identifier(row.text(0)?), row.text(3)?);
            definition.constraints.push(Constraint { kind, valid: row.text(2)? == "t", action });
        }
        for row in Rows::new(indexes) {
            definition.index(row)?;
        }
        for row in Rows::new(statistics) {
            definition.statistics_object(row)?;
        }
        for row in Rows::new(triggers) {
            definition.rest.push(row.text(1)?.to_owned());
            let state = match row.text(2)? {
                "D" => Some("DISABLE TRIGGER"),
                "R" => Some("ENABLE REPLICA TRIGGER"),
                "A" => Some("ENABLE ALWAYS TRIGGER"),
                _ => None,
            };
            if let Some(state) = state {
                definition.rest.push(format!("ALTER TABLE {table} {state} {}", quote_identifier(row.text(0)?)));
            }
        }
        for row in Rows::new(policies) {
            definition.rest.push(policy(&table, row)?);
        }
        for (column, action) in [(5, "ENABLE ROW LEVEL SECURITY"), (6, "FORCE ROW LEVEL SECURITY")] {
            if class.maybe(column) == Some("t") {
                definition.rest.push(format!("ALTER TABLE {table} {action}"));
            }
        }
        match class.text(4)? {
            "f" => definition.rest.push(format!("ALTER TABLE {table} REPLICA IDENTITY FULL")),
            "n" => definition.rest.push(format!("ALTER TABLE {table} REPLICA IDENTITY NOTHING")),
            _ => {}
        }
        definition.rest.push(format!("ALTER TABLE {table} OWNER TO {owner}"));
        definition.rest.extend(table_grants(&table, &owner, Rows::new(grants))?);
        Ok(definition)
    }

    fn sequence(&mut self, row: Row<'_>) -> Result<()> {
        let name = TableName::new(row.text(0)?, row.text(1)?);
        let column = row.text(2)?;
        let cycle = if row.text(10)? == "t" { "CYCLE" } else { "NO CYCLE" };
        let options = format!(
            "START WITH {} INCREMENT BY {} MINVALUE {} MAXVALUE {} CACHE {} {cycle}",
            row.text(5)?,
            row.text(6)?,
            row.text(7)?,
            row.text(8)?,
            row.text(9)?,
        );
        let known = self.columns.iter_mut().find(|known| known.name == column);
        let identity = known.and_then(|known| known.identity.as_mut());
        let is_identity = identity.is_some();
        if let Some(identity) = identity {
            identity.options = format!("SEQUENCE NAME {} {options}", qualified(&name));
        }
        let options = format!("AS {} {options}", row.text(4)?);
        self.sequences.push(OwnedSequence { name, column: column.to_owned(), identity: is_identity, options });
        Ok(())
    }

    fn index(&mut self, row: Row<'_>) -> Result<()> {
        let (name, table) = (quote_identifier(row.text(0)?), quote_identifier(&self.name.name));
        if row.text(4)? != "t" {
            self.indexes.push(row.text(1)?.to_owned());
        }
        if row.text(2)? == "t" {
            self.rest.push(format!("ALTER TABLE {table} CLUSTER ON {name}"));
        }
        if row.text(3)? == "t" {
            self.rest.push(format!("ALTER TABLE {table} REPLICA IDENTITY USING INDEX {name}"));
        }
        Ok(())
    }

    fn statistics_object(&mut self, row: Row<'_>) -> Result<()> {
        let (schema, name) = (row.text(0)?, row.text(1)?);
        // The text always starts so, whatever the search_path.
        let text = row.text(2)?;
        let dot = text.find('.').filter(|_| text.starts_with("CREATE STATISTICS "));
        let Some(dot) = dot.filter(|_| !schema.contains('.')) else {
            return Err(Error::internal(format!("extended statistics \"{name}\" print oddly")));
        };
        self.statistics.push((schema.to_owned(), text[dot + 1..].to_owned()));
        Ok(())
    }

    /// The columns that are copied: all but those computed from others.
    pub(super) fn copied_columns(&self) -> String {
        let names: Vec<String> = self
            .columns
            .iter()
            .filter(|column| !column.generated)
            .map(|column| quote_identifier(&column.name))
            .collect();
        names.join(", ")
    }

    /// As it is with this distribution key: NULL has no shard, so slices do not take it, and say so as for any column.
    pub(super) fn keyed(mut self, key: &KeyColumn) -> Self {
        self.columns.iter_mut().filter(|column| column.name == key.name).for_each(|column| column.not_null = true);
        self
    }

    /// CREATE TABLE and what else comes before the rows.
    pub(super) fn create(&self, target: Target) -> Vec<String> {
        let table = quote_identifier(&self.name.name);
        let columns: Vec<String> = self.columns.iter().map(|column| column.text(target)).collect();
        let mut sql =
            format!("CREATE {}TABLE {table} ({})", if self.unlogged { "UNLOGGED " } else { "" }, columns.join(", "));
        if self.access_method != "heap" {
            let _ = write!(sql, " USING {}", quote_identifier(&self.access_method));
        }
        if let Some(options) = &self.options {
            let _ = write!(sql, " WITH ({options})");
        }
        let settings = self.columns.iter().flat_map(|column| &column.settings);
        let checks =
            self.constraints.iter().filter(|constraint| constraint.kind == ConstraintKind::Check && constraint.valid);
        let actions: Vec<String> =
            settings.cloned().chain(checks.map(|constraint| constraint.action.clone())).collect();
        let mut statements = vec![sql];
        if !actions.is_empty() {
            statements.push(format!("ALTER TABLE {table} {}", actions.join(", ")));
        }
        statements
    }

    /// Indexes and the constraints they back: cheaper once the rows are there.
    pub(super) fn index_rows(&self) -> Vec<String> {
        let table = quote_identifier(&self.name.name);
        let backed = self.constraints.iter().filter(|constraint| constraint.kind == ConstraintKind::Index);
        let mut statements: Vec<String> =
            backed.map(|constraint| format!("ALTER TABLE {table} {}", constraint.action)).collect();
        statements.extend(self.indexes.iter().cloned());
        statements
    }

    /// Extended statistics, in a schema named for the place.
    pub(super) fn statistics_in(&self, schema_of: impl Fn(&str) -> String) -> Vec<String> {
        let text = |(schema, rest): &(String, String)| {
            format!("CREATE STATISTICS {}.{rest}", quote_identifier(&schema_of(schema)))
        };
        self.statistics.iter().map(text).collect()
    }

    /// Foreign keys, constraints not yet validated, triggers, row security, owner and grants.
    pub(super) fn finish(&self) -> Vec<String> {
        let table = quote_identifier(&self.name.name);
        let late = self.constraints.iter().filter(|constraint| {
            constraint.kind == ConstraintKind::ForeignKey
                || (constraint.kind == ConstraintKind::Check && !constraint.valid)
        });
        let mut statements: Vec<String> =
            late.map(|constraint| format!("ALTER TABLE {table} {}", constraint.action)).collect();
        statements.extend(self.rest.iter().cloned());
        statements
    }
}

fn column(row: Row<'_>) -> Result<ColumnDefinition> {
    let name = row.text(0)?;
    let quoted = quote_identifier(name);
    let default = row.maybe(4).map(str::to_owned);
    let reads_sequence = row.text(12)? == "t" || default.as_ref().is_some_and(|default| default.contains("nextval("));
    let identity = row.maybe(6).filter(|kind| !kind.is_empty());
    let mut settings = Vec::new();
    if let Some(storage) = row.maybe(7) {
        settings.push(format!("ALTER COLUMN {quoted} SET STORAGE {storage}"));
    }
    if let Some(compression) = row.maybe(8) {
        settings.push(format!("ALTER COLUMN {quoted} SET COMPRESSION {compression}"));
    }
    if let Some(target) = row.maybe(9).filter(|target| *target != "-1") {
        settings.push(format!("ALTER COLUMN {quoted} SET STATISTICS {target}"));
    }
    if let Some(options) = row.maybe(10) {
        settings.push(format!("ALTER COLUMN {quoted} SET ({options})"));
    }
    Ok(ColumnDefinition {
        name: name.to_owned(),
        generated: row.maybe(5).is_some_and(|kind| !kind.is_empty()),
        built_in: row.text(11)? == "t",
        type_name: row.text(1)?.to_owned(),
        collation: row.maybe(2).map(str::to_owned),
        not_null: row.text(3)? == "t",
        default,
        reads_sequence,
        identity: identity.map(|kind| Identity { always: kind == "a", options: String::new() }),
        settings,
    })
}

impl ColumnDefinition {
    fn text(&self, target: Target) -> String {
        let mut sql = format!("{} {}", quote_identifier(&self.name), self.type_name);
        if let Some(collation) = &self.collation {
            let _ = write!(sql, " COLLATE {collation}");
        }
        match (&self.default, &self.identity) {
            (Some(expression), _) if self.generated => {
                let _ = write!(sql, " GENERATED ALWAYS AS ({expression}) STORED");
            }
            (Some(expression), _) if target == Target::Home || !self.reads_sequence => {
                let _ = write!(sql, " DEFAULT {expression}");
            }
            (_, Some(identity)) if target == Target::Home => {
                let kind = if identity.always { "ALWAYS" } else { "BY DEFAULT" };
                let _ = write!(sql, " GENERATED {kind} AS IDENTITY ({})", identity.options);
            }
            _ => {}
        }
        if self.not_null {
            sql.push_str(" NOT NULL");
        }
        sql
    }
}

fn policy(table: &str, row: Row<'_>) -> Result<String> {
    let command = match row.text(1)? {
        "r" => "SELECT",
        "a" => "INSERT",
        "w" => "UPDATE",
        "d" => "DELETE",
        _ => "ALL",
    };
    let kind = if row.text(2)? == "t" { "PERMISSIVE" } else { "RESTRICTIVE" };
    let roles = row.maybe(3).unwrap_or("PUBLIC");
    let mut sql =
        format!("CREATE POLICY {} ON {table} AS {kind} FOR {command} TO {roles}", quote_identifier(row.text(0)?));
    if let Some(using) = row.maybe(4) {
        let _ = write!(sql, " USING ({using})");
    }
    if let Some(check) = row.maybe(5) {
        let _ = write!(sql, " WITH CHECK ({check})");
    }
    Ok(sql)
}

/// Grants on a table (or view) and its columns, from rows (column, grantee, privilege, grantable); empty when the defaults are in force.
pub(super) fn table_grants(table: &str, owner: &str, rows: Rows<'_>) -> Result<Vec<String>> {
    let mut statements = Vec::new();
    let mut whole = false;
    for row in rows {
        if row.maybe(0).is_none() && !std::mem::replace(&mut whole, true) {
            statements.insert(0, format!("REVOKE ALL ON TABLE {table} FROM PUBLIC, {owner}"));
        }
        let columns = row.maybe(0).map_or_else(String::new, |column| format!(" ({})", quote_identifier(column)));
        let option = if row.text(3)? == "t" { " WITH GRANT OPTION" } else { "" };
        statements.push(format!("GRANT {}{columns} ON TABLE {table} TO {}{option}", row.text(2)?, row.text(1)?));
    }
    Ok(statements)
}

/// Makes at home the table that the catalog database has just created; `name` as the client wrote it.
pub(super) async fn create_at_home(scope: &mut Scope<'_>, name: &str) -> Result<()> {
    let found = scope
        .catalog(&format!(
            "SELECT nspname, relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
             WHERE pg_class.oid = to_regclass({})",
            quote_literal(name)
        ))
        .await?;
    let row = found
        .first()
        .and_then(|set| Rows::new(set).next())
        .ok_or_else(|| Error::internal("the new table is not there"))?;
    let table = TableName::new(row.text(0)?, row.text(1)?);
    // IF NOT EXISTS of one that is there.
    if scope.facts.catalog.relations.contains_key(&table) {
        return Ok(());
    }
    let definition = Definition::read(scope, &table).await?;
    make(scope, Place::HOME, &quote_identifier(&table.schema), &definition, Target::Home).await
}

/// Makes a whole table, without rows, under a search_path.
async fn make(scope: &mut Scope<'_>, place: Place, path: &str, definition: &Definition, target: Target) -> Result<()> {
    let mut statements = definition.create(target);
    statements.extend(definition.index_rows());
    statements.extend(definition.statistics_in(str::to_owned));
    statements.extend(definition.finish());
    scope.tx.run(place, Some(path), &statements.join("; ")).await.map(drop)
}
