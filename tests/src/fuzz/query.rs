//! The generator of queries: what is selected from what. Expressions are in `expr`.

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use super::ast::{Body, Content, Cte, Distinct, Expr, Order, Query, Select, Style, TYPES, Ty};
use super::schema::Schema;

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
    /// Its primary key, if it has one.
    pub key: Vec<String>,
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
pub struct Visible {
    pub name: String,
    pub columns: Vec<(String, Ty)>,
}

/// A seeded source of queries over one schema.
#[derive(Debug)]
pub struct Generator<'a> {
    pub rng: StdRng,
    pub schema: &'a Schema,
    pub visible: Vec<Visible>,
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

    /// A new name.
    pub fn alias(&mut self, prefix: &str) -> String {
        self.aliases += 1;
        format!("{prefix}{}", self.aliases)
    }

    pub fn types(&mut self, count: usize) -> Vec<Ty> {
        let present: Vec<Ty> =
            self.schema.tables.iter().flat_map(|table| table.columns.iter().map(|column| column.ty)).collect();
        (0..count)
            .map(|_| {
                if let Some(ty) = self.pick(&present)
                    && self.chance(0.7)
                {
                    return ty;
                }
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
        // The simple ones are those that are answered in other ways than by PostgreSQL's merging.
        let depth = [0, 0, 0, 1, 1, 2, 2, 3][self.rng.random_range(0..8)];
        let mut query = self.query(&types, &[], depth, true);
        if query.order.is_empty() && self.chance(0.4) && !matches!(query.body, Body::Values(_)) {
            self.order(&mut query, count, false);
        }
        if let Body::Select(select) = &mut query.body
            && (select.distinct == Distinct::No && !select.aggregated)
            && (query.order.is_empty() && query.limit.is_none() && query.offset.is_none())
            && self.rng.random_bool(0.06)
        {
            select.items = vec![(Expr::leaf(Ty::Text, "*"), String::new())];
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
        let mut query = Query { ctes, body, order: Vec::new(), limit: None, offset: None, ties: false };
        if let Body::Select(select) = &mut query.body
            && types.len() > 1
            && !select.aggregated
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
            // Not with an aggregate: PostgreSQL 15 forgets the ties when it turns max() into an ordered subquery, and fails.
            let aggregated = matches!(&query.body, Body::Select(select) if select.aggregated);
            query.ties = !aggregated && query.limit.is_some() && self.chance(0.1);
            query.offset = self.chance(0.3).then(|| self.rng.random_range(0..5));
        }
        self.visible.truncate(known);
        query
    }

    /// Sorts by all output columns in some order, or by a few of them.
    pub fn order(&mut self, query: &mut Query, columns: usize, total: bool) {
        let mut all: Vec<usize> = (0..columns).collect();
        all.shuffle(&mut self.rng);
        if !total {
            all.truncate(self.rng.random_range(1..=columns));
        }
        let suffixes = ["", "", " DESC", " NULLS FIRST", " DESC NULLS LAST", " ASC"];
        let plain = matches!(&query.body, Body::Select(select) if select.distinct == Distinct::No);
        query.order = all
            .into_iter()
            .map(|column| {
                let style = if plain { self.pick(&[Style::Number, Style::Expression]) } else { None };
                Order { column, suffix: self.pick(&suffixes).unwrap_or(""), style: style.unwrap_or(Style::Number) }
            })
            .collect();
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
        let materialized = if matches!(content, Content::Recursive(_)) {
            None
        } else {
            self.pick(&[None, None, Some(true), Some(false)])
        };
        Cte { name, columns: names, materialized: materialized.flatten(), content }
    }

    fn recursive(&mut self, name: &str) -> (Vec<Ty>, Content) {
        let tables = self.schema.tables.clone();
        let first = self.pick(&tables).map_or_else(String::new, |table| table.name);
        let second =
            if self.chance(0.7) { first.clone() } else { self.pick(&tables).map_or(first.clone(), |t| t.name) };
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
        while filter.len() < 2 && self.chance(0.3) {
            filter.push(self.condition(&env, depth.min(2)));
        }
        let (mut group, mut sets, mut having) = (Vec::new(), "", Vec::new());
        let mut distinct = Distinct::No;
        if self.chance(if depth == 0 { 0.5 } else { 0.3 }) {
            let keyed: Vec<Rel> = env.rels.iter().filter(|rel| !rel.key.is_empty()).cloned().collect();
            let whole = if self.chance(0.2) { self.pick(&keyed) } else { None };
            let mut keys = if whole.is_some() { Vec::new() } else { self.group_keys(&env) };
            group = keys.iter().map(|leaf| Expr::leaf(leaf.ty, leaf.sql.clone())).collect();
            if let Some(rel) = whole {
                let of_key = rel.leaves.iter().filter(|leaf| rel.key.contains(&leaf.sql));
                group = of_key.map(|leaf| Expr::leaf(leaf.ty, leaf.sql.clone())).collect();
                // Its primary key makes all its columns usable.
                keys = rel.leaves;
            }
            if group.len() > 1 && keys.len() == group.len() && self.chance(0.2) {
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
                // The keys of grouping sets do not tell the groups apart.
                let windowed = sets.is_empty() && self.chance(0.12);
                let expr = if windowed { self.window(*ty, &env, depth) } else { None };
                let expr = match (*ty, group.first()) {
                    (Ty::Int4, Some(Expr::Leaf { sql, .. })) if !sets.is_empty() && self.chance(0.3) => {
                        Some(Expr::leaf(*ty, format!("grouping({sql})")))
                    }
                    (Ty::Int4, _) if env.grouped.is_none() && self.chance(0.015) => self.expanded(&env),
                    _ => expr,
                };
                // The names that PostgreSQL gives must be the same, too.
                let alias = if self.chance(0.2) { String::new() } else { format!("c{index}") };
                (expr.unwrap_or_else(|| self.item(*ty, &env, depth)), alias)
            })
            .collect();
        Select { distinct, items, from, filter, group, sets, having, aggregated: env.grouped.is_some() }
    }

    /// A function that gives several rows.
    fn expanded(&mut self, env: &Env) -> Option<Expr> {
        let arrays: Vec<Leaf> = env.leaves().into_iter().filter(|leaf| leaf.ty == Ty::IntArray).collect();
        Some(match self.pick(&arrays) {
            Some(leaf) => Expr::leaf(Ty::Int4, format!("unnest({})", leaf.sql)),
            None => Expr::leaf(Ty::Int4, "generate_series(1, 2)"),
        })
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
}

/// Whether `=` between the types is possible.
#[must_use]
pub fn comparable(a: Ty, b: Ty) -> bool {
    let number = |ty: Ty| ty.is_integer() || ty == Ty::Numeric || ty == Ty::Float8;
    a == b || (number(a) && number(b))
}

/// What a subquery or a function gives.
#[must_use]
pub fn derived(alias: &str, columns: &[(String, Ty)], rows: u64) -> Rel {
    let leaves: Vec<Leaf> = columns
        .iter()
        // Nobody knows what a subquery computes.
        .map(|(name, ty)| Leaf { sql: format!("{alias}.{name}"), ty: *ty, extreme: true })
        .collect();
    let total = leaves.iter().map(|leaf| leaf.sql.clone()).collect();
    Rel { alias: alias.to_owned(), leaves, total, key: Vec::new(), rows }
}
