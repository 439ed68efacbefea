//! The generator of expressions. None of them can fail: what may fail on one plan need not fail on another.

use rand::Rng;

use super::ast::{Body, Distinct, Expr, Order, Piece, Query, Style, Ty};
use super::data;
use super::query::{Env, Generator, Leaf};

const NUMBERS: [Ty; 5] = [Ty::Int4, Ty::Int8, Ty::Int2, Ty::Numeric, Ty::Float8];

impl Generator<'_> {
    /// A value, or rarely NULL.
    pub fn constant(&mut self, ty: Ty) -> Expr {
        if self.chance(0.04) {
            return Expr::leaf(ty, format!("NULL::{}", ty.name()));
        }
        let value = data::value(&mut self.rng, ty);
        Expr::Literal { ty, value }
    }

    /// A column of that type; `tame` leaves out those with extreme values.
    fn column(&mut self, ty: Ty, env: &Env, tame: bool) -> Option<Expr> {
        let fits = |leaf: &&Leaf| leaf.ty == ty && !(tame && leaf.extreme);
        let own: Vec<Leaf> = env.leaves().iter().filter(fits).cloned().collect();
        let outer: Vec<Leaf> = env.outer.iter().filter(fits).cloned().collect();
        let from = if !outer.is_empty() && (own.is_empty() || self.chance(0.1)) { outer } else { own };
        self.pick(&from).map(|leaf| Expr::leaf(ty, leaf.sql))
    }

    /// An output column or an operand of a comparison: may be any column.
    pub fn item(&mut self, ty: Ty, env: &Env, depth: u32) -> Expr {
        if self.chance(0.5)
            && let Some(column) = self.column(ty, env, false)
        {
            return column;
        }
        self.expr(ty, env, depth)
    }

    /// Any expression of exactly that type.
    pub fn expr(&mut self, ty: Ty, env: &Env, depth: u32) -> Expr {
        if env.grouped.is_some() && self.chance(0.6) {
            return self.aggregate(ty, env, depth);
        }
        if depth == 0 || self.chance(0.35) {
            if let Some(column) = self.column(ty, env, true) {
                return column;
            }
            if depth == 0 {
                return self.constant(ty);
            }
        }
        let next = depth - 1;
        match self.rng.random_range(0..14) {
            0 => {
                let (condition, yes, no) =
                    (self.condition(env, next), self.expr(ty, env, next), self.expr(ty, env, next));
                return Expr::of(ty, "CASE WHEN {} THEN {} ELSE {} END", vec![condition, yes, no]);
            }
            1 => {
                let parts = vec![self.expr(ty, env, next), self.constant(ty)];
                return Expr::of(ty, "COALESCE({}, {})", parts);
            }
            2 if ty != Ty::Jsonb => {
                let parts = vec![self.expr(ty, env, next), self.constant(ty)];
                return Expr::of(ty, "NULLIF({}, {})", parts);
            }
            3 if !matches!(ty, Ty::Bool | Ty::Jsonb | Ty::Uuid) => {
                let function = self.pick(&["GREATEST", "LEAST"]).unwrap_or("LEAST");
                let parts = vec![self.expr(ty, env, next), self.expr(ty, env, next)];
                return Expr::of(ty, &format!("{function}({{}}, {{}})"), parts);
            }
            4 if ty == Ty::IntArray => {
                let around = env.around();
                let mut query = self.small(&[Ty::Int4], &around, next);
                query.order = vec![Order { column: 0, suffix: "", style: Style::Number }];
                return Expr::with(ty, "ARRAY({})", vec![Piece::Query(Box::new(query))]);
            }
            4 => {
                if let Some(query) = self.scalar(ty, env, next) {
                    return query;
                }
            }
            _ => {}
        }
        self.function(ty, env, next)
    }

    fn function(&mut self, ty: Ty, env: &Env, depth: u32) -> Expr {
        // Templates by type; the letters are the types of the holes.
        let choices: &[(&str, &[Ty])] = match ty {
            Ty::Int2 => &[("({} % 100::int2)", &[Ty::Int2]), ("({} % 100)::int2", &[Ty::Int4])],
            Ty::Int4 => &[
                ("({} % 1000 + {} % 7)", &[Ty::Int4, Ty::Int4]),
                ("({} % 50 * 3)", &[Ty::Int4]),
                ("length({})", &[Ty::Text]),
                ("({} % 1000)::int4", &[Ty::Int8]),
                ("{}::int4", &[Ty::Int2]),
                ("{}::int4", &[Ty::Bool]),
                ("cardinality({})", &[Ty::IntArray]),
                ("({})[1]", &[Ty::IntArray]),
                ("strpos({}, {})", &[Ty::Text, Ty::Text]),
                ("({} % 500 - {} % 10)", &[Ty::Int4, Ty::Int2]),
                ("array_length({}, 1)", &[Ty::IntArray]),
                ("ascii({})", &[Ty::Text]),
            ],
            Ty::Int8 => &[
                ("({} % 1000 + {} % 1000)", &[Ty::Int8, Ty::Int8]),
                ("({} % 1000 * {})", &[Ty::Int8, Ty::Int2]),
                ("abs({} % 100)", &[Ty::Int8]),
                ("{}::int8", &[Ty::Int4]),
                ("(- ({} % 100))", &[Ty::Int8]),
                ("({} & 7::int8)", &[Ty::Int8]),
            ],
            Ty::Numeric => &[
                ("({} + {})", &[Ty::Numeric, Ty::Numeric]),
                ("({} - {})", &[Ty::Numeric, Ty::Numeric]),
                ("round({} * {}, 2)", &[Ty::Numeric, Ty::Numeric]),
                ("round({}::numeric, 2)", &[Ty::Int4]),
                ("abs({})", &[Ty::Numeric]),
                ("round(({} / 4::numeric), 2)", &[Ty::Numeric]),
                ("round({}, 2)", &[Ty::Numeric]),
            ],
            Ty::Float8 => &[
                ("({} * 2::float8)", &[Ty::Float8]),
                ("({} + {})", &[Ty::Float8, Ty::Float8]),
                ("{}::float8", &[Ty::Int4]),
                ("floor({})", &[Ty::Float8]),
                ("(- {})", &[Ty::Float8]),
            ],
            Ty::Text => &[
                ("upper({})", &[Ty::Text]),
                ("({} || {})", &[Ty::Text, Ty::Text]),
                ("substr({}, 2, 3)", &[Ty::Text]),
                ("concat({}, '-', {})", &[Ty::Int4, Ty::Text]),
                ("{}::text", &[Ty::Int8]),
                ("{}::text", &[Ty::Date]),
                ("{}::text", &[Ty::Numeric]),
                ("{}::text", &[Ty::Bool]),
                ("replace({}, 'a', 'zz')", &[Ty::Text]),
                ("trim({})", &[Ty::Text]),
                ("left({}, 2)", &[Ty::Text]),
                ("to_char({}, 'YYYY-MM')", &[Ty::Date]),
                ("lpad({}, 5, '*')", &[Ty::Text]),
                ("md5({})", &[Ty::Text]),
                ("({} ->> 'a')", &[Ty::Jsonb]),
                ("{}::text", &[Ty::TimestampTz]),
                ("{}::text", &[Ty::Float8]),
                ("({} || {}::text)", &[Ty::Text, Ty::Int4]),
                ("{}::text", &[Ty::Mood]),
                ("{}::text", &[Ty::Interval]),
                ("encode({}, 'hex')", &[Ty::Bytea]),
            ],
            Ty::Bool => return self.condition(env, depth),
            Ty::Date => &[("({} + {} % 100)", &[Ty::Date, Ty::Int4]), ("{}::date", &[Ty::Timestamp])],
            Ty::Timestamp => &[
                ("date_trunc('month', {})", &[Ty::Timestamp]),
                ("({} + interval '1 day 2 hours')", &[Ty::Timestamp]),
                ("{}::timestamp", &[Ty::Date]),
                ("({} AT TIME ZONE 'Europe/Paris')", &[Ty::TimestampTz]),
            ],
            Ty::TimestampTz => &[
                ("({} + interval '90 minutes')", &[Ty::TimestampTz]),
                ("date_trunc('day', {})", &[Ty::TimestampTz]),
                ("({} AT TIME ZONE 'Asia/Tokyo')", &[Ty::Timestamp]),
                ("{}::timestamptz", &[Ty::Date]),
            ],
            Ty::Uuid => &[("COALESCE({}, {})", &[Ty::Uuid, Ty::Uuid])],
            Ty::Jsonb => &[
                ("({} -> 'a')", &[Ty::Jsonb]),
                ("({} -> 0)", &[Ty::Jsonb]),
                ("jsonb_build_object('x', {})", &[Ty::Int4]),
                ("to_jsonb({}::text)", &[Ty::Text]),
                ("({} || '{\"z\": 1}'::jsonb)", &[Ty::Jsonb]),
            ],
            Ty::Interval => &[("({} * 2)", &[Ty::Interval]), ("({} + {})", &[Ty::Interval, Ty::Interval])],
            Ty::Bytea => &[("({} || {})", &[Ty::Bytea, Ty::Bytea]), ("convert_to({}, 'UTF8')", &[Ty::Text])],
            Ty::Mood => &[("COALESCE({}, {})", &[Ty::Mood, Ty::Mood])],
            Ty::IntArray => &[
                ("ARRAY[{}, {}]", &[Ty::Int4, Ty::Int4]),
                ("({} || {})", &[Ty::IntArray, Ty::Int4]),
                ("array_append({}, {})", &[Ty::IntArray, Ty::Int4]),
            ],
        };
        let (template, holes) = choices[self.rng.random_range(0..choices.len())];
        let parts = holes.iter().map(|hole| self.expr(*hole, env, depth)).collect();
        Expr::of(ty, template, parts)
    }

    /// A boolean expression.
    pub fn condition(&mut self, env: &Env, depth: u32) -> Expr {
        if depth > 0
            && self.chance(0.25)
            && let Some(condition) = self.subquery_condition(env, depth - 1)
        {
            return condition;
        }
        let leaves = env.leaves();
        let ty = self.pick(&leaves).map_or(Ty::Int4, |leaf| leaf.ty);
        let next = depth.saturating_sub(1);
        let operand = self.item(ty, env, next);
        match self.rng.random_range(0..19) {
            0 => Expr::of(Ty::Bool, "({} IS NULL)", vec![operand]),
            1 => Expr::of(Ty::Bool, "({} IS NOT NULL)", vec![operand]),
            2 => {
                let parts = vec![operand, self.constant(ty), self.constant(ty)];
                Expr::of(Ty::Bool, "({} BETWEEN {} AND {})", parts)
            }
            3 => {
                let parts = vec![operand, self.constant(ty), self.constant(ty), self.constant(ty)];
                let not = if self.chance(0.3) { "NOT " } else { "" };
                Expr::of(Ty::Bool, &format!("({{}} {not}IN ({{}}, {{}}, {{}}))"), parts)
            }
            4 | 5 if depth > 0 => {
                let operator = self.pick(&["AND", "OR", "OR"]).unwrap_or("OR");
                let parts = vec![self.condition(env, next), self.condition(env, next)];
                Expr::of(Ty::Bool, &format!("({{}} {operator} {{}})"), parts)
            }
            6 if depth > 0 => Expr::of(Ty::Bool, "(NOT {})", vec![self.condition(env, next)]),
            7 => {
                let text = self.item(Ty::Text, env, next);
                let pattern = self.pick(&["a%", "%b%", "_", "%é", "A%", "%\\%%"]).unwrap_or("%");
                let operator = self.pick(&["LIKE", "NOT LIKE", "ILIKE"]).unwrap_or("LIKE");
                let pattern = Expr::Literal { ty: Ty::Text, value: pattern.to_owned() };
                Expr::of(Ty::Bool, &format!("({{}} {operator} {{}})"), vec![text, pattern])
            }
            8 => {
                let parts = vec![operand, self.expr(ty, env, next)];
                Expr::of(Ty::Bool, "({} IS DISTINCT FROM {})", parts)
            }
            9 => {
                let parts = vec![self.expr(Ty::Int4, env, next), self.expr(Ty::IntArray, env, next)];
                Expr::of(Ty::Bool, "({} = ANY ({}))", parts)
            }
            10 if leaves.iter().any(|leaf| leaf.ty == Ty::Jsonb) => {
                let document = self.item(Ty::Jsonb, env, next);
                let template = ["({} ? 'a')", "({} @> '{\"a\": 1}'::jsonb)", "(jsonb_typeof({}) = 'object')"];
                Expr::of(Ty::Bool, self.pick(&template).unwrap_or("({} ? 'b')"), vec![document])
            }
            12 => {
                let (text, pattern) = (self.item(Ty::Text, env, next), self.pick(&["^a", "b$", "[0-9]", "^.?$"]));
                let operator = self.pick(&["~", "!~", "~*"]).unwrap_or("~");
                let template = format!("({{}} {operator} '{}')", pattern.unwrap_or("a"));
                Expr::of(Ty::Bool, &template, vec![text])
            }
            13 => {
                let template = self.pick(&["({} IS TRUE)", "({} IS NOT TRUE)", "({} IS UNKNOWN)", "({} IS NOT FALSE)"]);
                Expr::of(Ty::Bool, template.unwrap_or("({} IS TRUE)"), vec![self.item(Ty::Bool, env, next)])
            }
            14 => {
                let ty = self.pick(&leaves).map_or(Ty::Text, |leaf| leaf.ty);
                let parts = vec![operand.clone(), self.constant(ty), operand, self.constant(ty)];
                Expr::of(Ty::Bool, "(({}, {}) IS NOT DISTINCT FROM ({}, {}))", parts)
            }
            11 => self.key_condition(env).unwrap_or_else(|| Expr::leaf(Ty::Bool, "true")),
            _ => {
                let operator = self.pick(&["=", "=", "<", ">", "<=", ">=", "<>"]).unwrap_or("=");
                // Numbers of different types sometimes.
                let other =
                    if NUMBERS.contains(&ty) && self.chance(0.2) { self.pick(&NUMBERS).unwrap_or(ty) } else { ty };
                let right = if self.chance(0.5) { self.constant(other) } else { self.item(other, env, next) };
                Expr::of(Ty::Bool, &format!("({{}} {operator} {{}})"), vec![operand, right])
            }
        }
    }

    /// A restriction of a key column: what decides which shards take part.
    pub fn key_condition(&mut self, env: &Env) -> Option<Expr> {
        let leaves = env.leaves();
        let keys: Vec<Leaf> =
            leaves.into_iter().filter(|leaf| [".k", ".id", ".o"].iter().any(|end| leaf.sql.ends_with(end))).collect();
        let leaf = self.pick(&keys)?;
        let (key, ty) = (leaf.sql.as_str(), leaf.ty);
        let parts = vec![self.constant(ty), self.constant(ty)];
        let template = match self.rng.random_range(0..8) {
            0..=2 => "({key} = {})",
            3 => "({key} IN ({}, {}))",
            4 => "({key} = {} OR {key} = {})",
            5 => "({key} >= {} AND {key} < {})",
            6 => "({key} = {} AND {key} = {})",
            _ => "({key} <> {})",
        };
        Some(Expr::of(Ty::Bool, &template.replace("{key}", key), parts))
    }

    /// A subquery of one value: an aggregate, or the first row in a total order.
    fn scalar(&mut self, ty: Ty, env: &Env, depth: u32) -> Option<Expr> {
        let around = env.around();
        let mut query = self.small(&[ty], &around, depth);
        let Body::Select(select) = &mut query.body else { return None };
        let one = !select.aggregated && self.rng.random_bool(0.6);
        if one && !matches!(ty, Ty::Bool | Ty::Uuid | Ty::Jsonb | Ty::Bytea) {
            select.distinct = Distinct::No;
            let (item, alias) = select.items.pop()?;
            let shown = format!("{item:?}");
            let windows = ["OVER (", "unnest", "generate_series"].iter().any(|word| shown.contains(word));
            if windows {
                return None;
            }
            let function = if self.chance(0.5) { "max" } else { "min" };
            select.items.push((Expr::of(ty, &format!("{function}({{}})"), vec![item]), alias));
        } else {
            query.order = vec![Order { column: 0, suffix: "", style: Style::Number }];
            query.limit = Some(1);
        }
        Some(Expr::with(ty, "({})", vec![Piece::Query(Box::new(query))]))
    }

    /// A subquery that is tied to what is around it, mostly.
    fn small(&mut self, types: &[Ty], around: &[Leaf], depth: u32) -> Query {
        let correlated = self.chance(0.6);
        let mut select = self.select(types, if correlated { around } else { &[] }, depth);
        if correlated {
            let from = select.from.clone();
            select.filter.extend(self.correlation(&from, around));
        }
        Query {
            ctes: Vec::new(),
            body: Body::Select(Box::new(select)),
            order: Vec::new(),
            limit: None,
            offset: None,
            ties: false,
        }
    }

    fn subquery_condition(&mut self, env: &Env, depth: u32) -> Option<Expr> {
        let around = env.around();
        if self.chance(0.4) {
            let query = Piece::Query(Box::new(self.small(&[Ty::Int4], &around, depth)));
            let template = if self.chance(0.4) { "(NOT EXISTS ({}))" } else { "EXISTS ({})" };
            return Some(Expr::with(Ty::Bool, template, vec![query]));
        }
        let leaf = self.pick(&env.leaves())?;
        if leaf.ty == Ty::Jsonb {
            return None;
        }
        let other = self.pick(&env.leaves())?;
        if self.chance(0.12) && other.ty != Ty::Jsonb {
            let query = Piece::Query(Box::new(self.small(&[leaf.ty, other.ty], &around, depth)));
            let template = if self.chance(0.7) { "(({}, {}) IN ({}))" } else { "(({}, {}) NOT IN ({}))" };
            let [left, right] = [leaf, other].map(|leaf| Piece::Expr(Expr::leaf(leaf.ty, leaf.sql)));
            return Some(Expr::with(Ty::Bool, template, vec![left, right, query]));
        }
        let templates = [
            "({} IN ({}))",
            "({} IN ({}))",
            "({} NOT IN ({}))",
            "({} = ANY ({}))",
            "({} <= ALL ({}))",
            "({} > ANY ({}))",
        ];
        let template = self.pick(&templates)?;
        let key = leaf.sql.ends_with(".k") && self.chance(0.5);
        let mut query = self.small(&[leaf.ty], &around, depth);
        if key && let Body::Select(select) = &mut query.body {
            // Key in key: what can stay on the shard.
            let inner = select.from.first().and_then(|from| match from {
                super::ast::From::Named { sql, alias } if sql.len() == 1 => Some(alias.clone()),
                _ => None,
            });
            if let (Some(alias), false) = (inner, select.aggregated) {
                select.items = vec![(Expr::leaf(leaf.ty, format!("{alias}.k")), "c0".to_owned())];
            }
        }
        let operand = Piece::Expr(Expr::leaf(leaf.ty, leaf.sql));
        Some(Expr::with(Ty::Bool, template, vec![operand, Piece::Query(Box::new(query))]))
    }
}
