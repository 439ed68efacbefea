//! The generator of queries: what is selected from what. Expressions are in `expr`.

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use super::ast::{Body, Content, Cte, Distinct, Expr, From, On, Order, Query, Select, TYPES, Ty};
use super::schema::{Kind, Schema};

/// Rows that joins may give by the generator's estimate.
const ROWS_MAX: u64 = 10_000;

/// A column that can be named.
#[derive(Debug, Clone)]
pub struct Leaf {
    pub sql: String,
    pub ty: Ty,
    pub extreme: bool,
}

/// What one alias gives.
#[derive(Debug, Clone)]
pub struct Rel {
    pub alias: String,
    pub leaves: Vec<Leaf>,
    /// Its columns that tell all its rows apart (or as much as anything can).
    pub total: Vec<String>,
    pub rows: u64,
}

/// What an expression may use.
#[derive(Debug, Clone, Default)]
pub struct Env {
    pub rels: Vec<Rel>,
    /// Columns of the queries around.
    pub outer: Vec<Leaf>,
    /// The keys, when the expression stands above a GROUP BY.
    pub grouped: Option<Vec<Leaf>>,
}

impl Env {
    /// What can be named as it is.
    #[must_use]
    pub fn leaves(&self) -> Vec<Leaf> {
        match &self.grouped {
            Some(keys) => keys.clone(),
            None => self.rels.iter().flat_map(|rel| rel.leaves.clone()).collect(),
        }
    }

    /// What a subquery at this place sees around it.
    #[must_use]
    pub fn around(&self) -> Vec<Leaf> {
        let mut leaves = self.leaves();
        leaves.extend(self.outer.iter().cloned());
        leaves
    }
}

/// A CTE that can be read.
#[derive(Debug, Clone)]
struct Visible {
    name: String,
    columns: Vec<(String, Ty)>,
}

/// A seeded source of queries over one schema.
#[derive(Debug)]
pub struct Generator<'a> {
    pub rng: StdRng,
    schema: &'a Schema,
    visible: Vec<Visible>,
    aliases: u32,
}

impl<'a> Generator<'a> {
    #[must_use]
    pub fn new(seed: u64, schema: &'a Schema) -> Generator<'a> {
        Generator { rng: StdRng::seed_from_u64(seed), schema, visible: Vec::new(), aliases: 0 }
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        from.choose(&mut self.rng).cloned()
    }

    fn alias(&mut self, prefix: &str) -> String {
        self.aliases += 1;
        format!("{prefix}{}", self.aliases)
    }

    pub fn types(&mut self, count: usize) -> Vec<Ty> {
        (0..count)
            .map(|_| {
                let at = self.rng.random_range(0.0..1.0_f64) * self.rng.random_range(0.3..1.0_f64) * TYPES.len() as f64;
                TYPES.get(at as usize).copied().unwrap_or(Ty::Int4)
            })
            .collect()
    }

    /// A whole statement.
    pub fn statement(&mut self) -> Query {
        self.visible.clear();
        self.aliases = 0;
        let count = self.rng.random_range(1..=4);
        let types = self.types(count);
        let depth = [1, 2, 2, 3][self.rng.random_range(0..4)];
        let mut query = self.query(&types, &[], depth, true);
        if query.order.is_empty() && self.chance(0.4) && !matches!(query.body, Body::Values(_)) {
            self.order(&mut query, count, false);
        }
        query
    }

    /// A query with these output types, its columns named `c0`, `c1`, ...
    pub fn query(&mut self, types: &[Ty], outer: &[Leaf], depth: u32, top: bool) -> Query {
        let known = self.visible.len();
        let mut ctes = Vec::new();
        if depth > 0 && self.chance(if top { 0.25 } else { 0.05 }) {
            for _ in 0..self.rng.random_range(1..=2) {
                let cte = self.cte(depth - 1);
                ctes.push(cte);
            }
        }
        let operators = ["UNION", "UNION ALL", "INTERSECT", "INTERSECT ALL", "EXCEPT", "EXCEPT ALL"];
        let body = match self.rng.random_range(0..20) {
            0..=1 if depth > 0 => {
                let left = self.query(types, outer, depth - 1, false);
                let right = self.query(types, outer, depth - 1, false);
                let operator = self.pick(&operators).unwrap_or("UNION");
                Body::Set(Box::new(left), operator, Box::new(right))
            }
            2 if !top => {
                let rows = self.rng.random_range(1..=4);
                Body::Values((0..rows).map(|_| types.iter().map(|ty| self.constant(*ty)).collect()).collect())
            }
            _ => Body::Select(Box::new(self.select(types, outer, depth))),
        };
        let mut query = Query { ctes, body, order: Vec::new(), limit: None, offset: None };
        if let Body::Select(select) = &mut query.body
            && types.len() > 1
            && select.group.is_empty()
            && select.distinct == Distinct::No
            && self.rng.random_bool(0.04)
        {
            select.distinct = Distinct::On(self.rng.random_range(1..types.len()));
            self.order(&mut query, types.len(), true);
        }
        if self.chance(if top { 0.2 } else { 0.12 }) {
            if query.order.is_empty() {
                self.order(&mut query, types.len(), true);
            }
            query.limit = self.chance(0.85).then(|| self.rng.random_range(0..12));
            query.offset = self.chance(0.3).then(|| self.rng.random_range(0..5));
        }
        self.visible.truncate(known);
        query
    }

    /// Sorts by all output columns in some order, or by a few of them.
    fn order(&mut self, query: &mut Query, columns: usize, total: bool) {
        let mut all: Vec<usize> = (0..columns).collect();
        all.shuffle(&mut self.rng);
        if !total {
            all.truncate(self.rng.random_range(1..=columns));
        }
        let suffixes = ["", "", " DESC", " NULLS FIRST", " DESC NULLS LAST", " ASC"];
        query.order =
            all.into_iter().map(|column| Order { column, suffix: self.pick(&suffixes).unwrap_or("") }).collect();
    }

    fn cte(&mut self, depth: u32) -> Cte {
        let name = self.alias("w");
        let (types, content) = if self.chance(0.2) {
            self.recursive(&name)
        } else {
            let count = self.rng.random_range(1..=3);
            let types = self.types(count);
            let query = self.query(&types, &[], depth, false);
            (types, Content::Query(query))
        };
        let columns: Vec<(String, Ty)> =
            types.iter().enumerate().map(|(index, ty)| (format!("c{index}"), *ty)).collect();
        let names = columns.iter().map(|(name, _)| name.clone()).collect();
        self.visible.push(Visible { name: name.clone(), columns });
        let materialized =
            if matches!(content, Content::Recursive(_)) { None } else { self.pick(&[None, None, Some(true), Some(false)]) };
        Cte { name, columns: names, materialized: materialized.flatten(), content }
    }

    fn recursive(&mut self, name: &str) -> (Vec<Ty>, Content) {
        let tables = self.schema.tables.clone();
        let first = self.pick(&tables).map_or_else(String::new, |table| table.name);
        let second = if self.chance(0.7) { first.clone() } else { self.pick(&tables).map_or(first.clone(), |t| t.name) };
        match self.rng.random_range(0..3) {
            0 => {
                let end = self.rng.random_range(2..15);
                let sql = format!("SELECT 1, 0 UNION ALL SELECT c0 + 1, c0 * 2 FROM {name} WHERE c0 < {end}");
                (vec![Ty::Int4, Ty::Int4], Content::Recursive(sql))
            }
            1 => {
                let sql = format!(
                    "SELECT x.id, 0 FROM {first} x WHERE x.id < 3 UNION SELECT y.id, {name}.c1 + 1 FROM {name} JOIN {second} y ON y.id = {name}.c0 + 2 WHERE {name}.c1 < 4"
                );
                (vec![Ty::Int4, Ty::Int4], Content::Recursive(sql))
            }
            _ => {
                let sql = format!(
                    "SELECT x.k::text, x.id FROM {first} x WHERE x.id <= 4 UNION SELECT y.k::text, y.id FROM {second} y, {name} WHERE y.k::text = {name}.c0"
                );
                (vec![Ty::Text, Ty::Int4], Content::Recursive(sql))
            }
        }
    }

    /// A SELECT with these output types.
    pub fn select(&mut self, types: &[Ty], outer: &[Leaf], depth: u32) -> Select {
        let (from, rels) = self.from(outer, depth);
        let mut env = Env { rels, outer: outer.to_vec(), grouped: None };
        let mut filter = Vec::new();
        if self.chance(0.25) {
            filter.extend(self.key_condition(&env));
        }
        while filter.len() < 3 && self.chance(0.4) {
            filter.push(self.condition(&env, depth.min(2)));
        }
        let (mut group, mut sets, mut having) = (Vec::new(), "", Vec::new());
        let mut distinct = Distinct::No;
        if self.chance(0.3) {
            let keys = self.group_keys(&env);
            group = keys.iter().map(|leaf| Expr::leaf(leaf.ty, leaf.sql.clone())).collect();
            if group.len() > 1 && self.chance(0.2) {
                sets = self.pick(&["ROLLUP ", "CUBE ", "GROUPING SETS "]).unwrap_or("");
            }
            env.grouped = Some(keys);
            if self.chance(0.3) {
                having.push(self.condition(&env, 1));
            }
        } else if self.chance(0.12) {
            distinct = Distinct::Rows;
        }
        let items = types
            .iter()
            .enumerate()
            .map(|(index, ty)| {
                let windowed = self.chance(0.12);
                let expr = if windowed { self.window(*ty, &env, depth) } else { None };
                (expr.unwrap_or_else(|| self.item(*ty, &env, depth)), format!("c{index}"))
            })
            .collect();
        Select { distinct, items, from, filter, group, sets, having }
    }

    fn group_keys(&mut self, env: &Env) -> Vec<Leaf> {
        let leaves = env.leaves();
        let count = self.rng.random_range(0..=3);
        let mut keys: Vec<Leaf> = Vec::new();
        for _ in 0..count {
            let Some(leaf) = self.pick(&leaves) else { break };
            // Values that are equal and look different would make the answer a matter of luck.
            if leaf.ty == Ty::Jsonb || (leaf.ty == Ty::Numeric && leaf.extreme) {
                continue;
            }
            let mut key = leaf.clone();
            if leaf.ty.is_integer() && self.chance(0.3) {
                key.sql = format!("({} % 4)", leaf.sql);
            } else if leaf.ty == Ty::Text && self.chance(0.2) {
                key.sql = format!("upper({})", leaf.sql);
            }
            if !keys.iter().any(|other| other.sql == key.sql) {
                keys.push(key);
            }
        }
        keys
    }

    fn from(&mut self, outer: &[Leaf], depth: u32) -> (Vec<From>, Vec<Rel>) {
        let (mut left, rel) = self.relation(depth);
        let mut rels = vec![rel];
        for _ in 0..[0, 0, 1, 1, 2][self.rng.random_range(0..5)] {
            let rows: u64 = rels.iter().map(|rel| rel.rows).fold(0, u64::max);
            let lateral = depth > 0 && self.chance(0.12);
            if lateral {
                let (item, rel) = self.lateral(&rels, outer, depth - 1);
                let kind = self.pick(&["CROSS JOIN", "JOIN", "LEFT JOIN"]).unwrap_or("JOIN");
                let on = if kind == "CROSS JOIN" { On::Nothing } else { On::Conditions(Vec::new()) };
                left = From::Join { kind, left: Box::new(left), right: Box::new(item), on };
                rels.push(rel);
                continue;
            }
            let (mut right, mut rel) = self.relation(depth);
            let mut more = Vec::new();
            if self.chance(0.1) {
                // A join on the right side, in parentheses.
                let (inner, inner_rel) = self.relation(0);
                let (kind, on) = self.join(std::slice::from_ref(&rel), &inner_rel, outer, false);
                rel.rows = rel.rows.max(inner_rel.rows) * 2;
                right = From::Join { kind, left: Box::new(right), right: Box::new(inner), on };
                more.push(inner_rel);
            }
            let small = rows * rel.rows <= 600 && rels.len() < 3;
            let (kind, on) = self.join(&rels, &rel, outer, small);
            rel.rows = (rows.max(rel.rows) * 4).min(ROWS_MAX);
            left = From::Join { kind, left: Box::new(left), right: Box::new(right), on };
            rels.push(rel);
            rels.extend(more);
        }
        (vec![left], rels)
    }

    /// How `right` is joined to `left`; with few rows also without an equality.
    fn join(&mut self, left: &[Rel], right: &Rel, outer: &[Leaf], small: bool) -> (&'static str, On) {
        let kinds = ["JOIN", "JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"];
        let kind = self.pick(&kinds).unwrap_or("JOIN");
        if small && self.chance(0.25) {
            return ("CROSS JOIN", On::Nothing);
        }
        let column = |rel: &Rel, name: &str| rel.leaves.iter().any(|leaf| leaf.sql.ends_with(&format!(".{name}")));
        if left.len() == 1 && self.chance(0.12) {
            let both: Vec<&str> =
                ["id", "k", "c0", "g"].into_iter().filter(|name| column(&left[0], name) && column(right, name)).collect();
            if let Some(name) = self.pick(&both) {
                return (kind, On::Using(name.to_owned()));
            }
        }
        let env = Env { rels: left.to_vec(), outer: Vec::new(), grouped: None };
        let (mine, theirs) = (env.leaves(), right.leaves.clone());
        let mut conditions = Vec::new();
        let ends = |leaf: &Leaf, name: &str| leaf.sql.ends_with(&format!(".{name}"));
        for name in if self.chance(0.6) { ["k", "id"] } else { ["id", "k"] } {
            let a = mine.iter().rev().find(|leaf| ends(leaf, name));
            let b = theirs.iter().find(|leaf| ends(leaf, name));
            if let (Some(a), Some(b)) = (a, b)
                && conditions.is_empty()
                && (self.chance(0.75) || !small)
            {
                conditions.push(Expr::leaf(Ty::Bool, format!("{} = {}", a.sql, b.sql)));
            }
        }
        if conditions.is_empty() || self.chance(0.15) {
            let pairs: Vec<(Leaf, Leaf)> = mine
                .iter()
                .flat_map(|a| theirs.iter().map(move |b| (a.clone(), b.clone())))
                .filter(|(a, b)| comparable(a.ty, b.ty) && a.ty != Ty::Bool)
                .collect();
            if let Some((a, b)) = self.pick(&pairs) {
                conditions.push(Expr::leaf(Ty::Bool, format!("{} = {}", a.sql, b.sql)));
            } else if conditions.is_empty() {
                // Nothing to join on: one row of the right side.
                return ("JOIN", On::Conditions(vec![Expr::leaf(Ty::Bool, self.single(right))]));
            }
        }
        if kind != "FULL JOIN" && self.chance(0.25) {
            let mut rels = left.to_vec();
            rels.push(right.clone());
            let env = Env { rels, outer: outer.to_vec(), grouped: None };
            conditions.push(self.condition(&env, 0));
        }
        (kind, On::Conditions(conditions))
    }

    fn single(&mut self, rel: &Rel) -> String {
        let leaf = self.pick(&rel.leaves);
        leaf.map_or("false".to_owned(), |leaf| format!("{}::text = '3'", leaf.sql))
    }

    /// Something to read: a table, a view, a CTE, a subquery, VALUES or a function.
    fn relation(&mut self, depth: u32) -> (From, Rel) {
        let choice = self.rng.random_range(0..20);
        if choice < 3 && !self.visible.is_empty() {
            let visible = self.visible.clone();
            if let Some(Visible { name, columns }) = self.pick(&visible) {
                let alias = self.alias("s");
                return (From::Named { sql: name, alias: alias.clone() }, derived(&alias, &columns, 50));
            }
        }
        if choice < 5 && depth > 0 {
            let count = self.rng.random_range(1..=3);
            let types = self.types(count);
            let query = Box::new(self.query(&types, &[], depth - 1, false));
            return self.derived_table(query, &types, false);
        }
        if choice == 5 {
            let alias = self.alias("g");
            let (low, high) = (self.rng.random_range(-2..4), self.rng.random_range(4..12));
            let sql = format!("generate_series({low}, {high})");
            let rel = derived(&alias, &[("g".to_owned(), Ty::Int4)], 10);
            return (From::Named { sql, alias: format!("{alias}(g)") }, rel);
        }
        if choice == 6 {
            let alias = self.alias("x");
            let sql = "(VALUES (1, 'a'), (2, 'b'), (3, NULL))".to_owned();
            let columns = [("c0".to_owned(), Ty::Int4), ("c1".to_owned(), Ty::Text)];
            return (From::Named { sql, alias: format!("{alias}(c0, c1)") }, derived(&alias, &columns, 3));
        }
        let views = &self.schema.views;
        if choice == 7 && !views.is_empty() {
            let view = views[self.rng.random_range(0..views.len())].clone();
            return self.named(&view.name, &view.columns, 100, None);
        }
        let tables = &self.schema.tables;
        let table = &tables[self.rng.random_range(0..tables.len())];
        let key = if let Kind::Distributed(key) = &table.kind { Some(key.as_str()) } else { None };
        self.named(&table.name, &table.columns, table.rows.len() as u64, key)
    }

    fn named(&mut self, name: &str, columns: &[super::schema::Column], rows: u64, _key: Option<&str>) -> (From, Rel) {
        let alias = self.alias(&name[..1]);
        let leaves = columns
            .iter()
            .map(|column| Leaf { sql: format!("{alias}.{}", column.name), ty: column.ty, extreme: column.extreme })
            .collect();
        let rel = Rel { alias: alias.clone(), leaves, total: vec![format!("{alias}.id")], rows };
        (From::Named { sql: name.to_owned(), alias }, rel)
    }

    fn derived_table(&mut self, query: Box<Query>, types: &[Ty], lateral: bool) -> (From, Rel) {
        let alias = self.alias("q");
        let columns: Vec<(String, Ty)> =
            types.iter().enumerate().map(|(index, ty)| (format!("c{index}"), *ty)).collect();
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let rel = derived(&alias, &columns, 50);
        (From::Query { query, alias: format!("{alias}({})", names.join(", ")), lateral }, rel)
    }

    fn lateral(&mut self, rels: &[Rel], outer: &[Leaf], depth: u32) -> (From, Rel) {
        let around = Env { rels: rels.to_vec(), outer: outer.to_vec(), grouped: None }.around();
        let arrays: Vec<Leaf> = around.iter().filter(|leaf| leaf.ty == Ty::IntArray).cloned().collect();
        if let Some(leaf) = self.pick(&arrays)
            && self.chance(0.4)
        {
            let alias = self.alias("n");
            let rel = derived(&alias, &[("g".to_owned(), Ty::Int4)], 5);
            return (From::Named { sql: format!("unnest({})", leaf.sql), alias: format!("{alias}(g)") }, rel);
        }
        let count = self.rng.random_range(1..=2);
        let types = self.types(count);
        let mut select = self.select(&types, &around, depth);
        select.filter.extend(self.correlation(&select.from.clone(), &around));
        let mut query = Query { ctes: Vec::new(), body: Body::Select(Box::new(select)), order: Vec::new(), limit: None, offset: None };
        self.order(&mut query, types.len(), true);
        query.limit = Some(self.rng.random_range(1..4));
        self.derived_table(Box::new(query), &types, true)
    }

    /// A condition that ties a subquery's first table to a column around it.
    pub fn correlation(&mut self, from: &[From], around: &[Leaf]) -> Option<Expr> {
        let mut first = from.first()?;
        while let From::Join { left, .. } = first {
            first = left;
        }
        let From::Named { sql, alias } = first else { return None };
        let table = self.schema.table(sql)?;
        let pairs: Vec<String> = table
            .columns
            .iter()
            .flat_map(|column| around.iter().map(move |leaf| (column, leaf)))
            .filter(|(column, leaf)| comparable(column.ty, leaf.ty))
            .map(|(column, leaf)| format!("{alias}.{} = {}", column.name, leaf.sql))
            .collect();
        // By the key more often than by anything else.
        let keys: Vec<String> = pairs.iter().filter(|pair| pair.contains(".k = ")).cloned().collect();
        let pair = if self.chance(0.4) && !keys.is_empty() { self.pick(&keys) } else { self.pick(&pairs) };
        pair.map(|sql| Expr::leaf(Ty::Bool, sql))
    }
}

/// Whether `=` between the types is possible.
#[must_use]
pub fn comparable(a: Ty, b: Ty) -> bool {
    let number = |ty: Ty| ty.is_integer() || ty == Ty::Numeric || ty == Ty::Float8;
    a == b || (number(a) && number(b))
}

fn derived(alias: &str, columns: &[(String, Ty)], rows: u64) -> Rel {
    let leaves: Vec<Leaf> = columns
        .iter()
        // Nobody knows what a subquery computes.
        .map(|(name, ty)| Leaf { sql: format!("{alias}.{name}"), ty: *ty, extreme: true })
        .collect();
    let total = leaves.iter().map(|leaf| leaf.sql.clone()).collect();
    Rel { alias: alias.to_owned(), leaves, total, rows }
}
