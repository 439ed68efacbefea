//! The generator of FROM: what is read, and how it is joined.

use rand::Rng;

use super::ast::{Body, Expr, From, On, Query, Ty};
use super::query::{Env, Generator, Leaf, Rel, Visible, comparable, derived};
use super::schema::Column;

/// Rows that joins may give by the generator's estimate.
const ROWS_MAX: u64 = 10_000;

impl Generator<'_> {
    /// FROM and the columns it gives.
    pub fn from(&mut self, outer: &[Leaf], depth: u32) -> (Vec<From>, Vec<Rel>) {
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
        if left.len() == 1 && self.chance(0.03) {
            return (
                self.pick(&["NATURAL JOIN", "NATURAL LEFT JOIN", "NATURAL FULL JOIN"]).unwrap_or("NATURAL JOIN"),
                On::Nothing,
            );
        }
        let column = |rel: &Rel, name: &str| rel.leaves.iter().any(|leaf| leaf.sql.ends_with(&format!(".{name}")));
        if left.len() == 1 && self.chance(0.12) {
            let both: Vec<&str> = ["id", "k", "c0", "g"]
                .into_iter()
                .filter(|name| column(&left[0], name) && column(right, name))
                .collect();
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
        if kind != "FULL JOIN" && self.chance(0.12) {
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
            let (from, mut rel) = self.named(&view.name, &view.columns, 100);
            rel.total = rel.leaves.iter().map(|leaf| leaf.sql.clone()).collect();
            return (from, rel);
        }
        let tables = &self.schema.tables;
        let table = &tables[self.rng.random_range(0..tables.len())];
        let (from, mut rel) = self.named(&table.name, &table.columns, table.rows.len() as u64);
        rel.key = table.primary_key().iter().map(|column| format!("{}.{column}", rel.alias)).collect();
        (from, rel)
    }

    fn named(&mut self, name: &str, columns: &[Column], rows: u64) -> (From, Rel) {
        let alias = self.alias(&name[..1]);
        let leaves = columns
            .iter()
            .map(|column| Leaf { sql: format!("{alias}.{}", column.name), ty: column.ty, extreme: column.extreme })
            .collect();
        let rel = Rel { alias: alias.clone(), leaves, total: vec![format!("{alias}.id")], key: Vec::new(), rows };
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
        let mut query = Query {
            ctes: Vec::new(),
            body: Body::Select(Box::new(select)),
            order: Vec::new(),
            limit: None,
            offset: None,
            ties: false,
        };
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
