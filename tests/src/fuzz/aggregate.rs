//! The generator of aggregates and window functions; their inner orders are total, so that there is one answer.

use rand::Rng;

use super::ast::{Expr, Piece, Ty};
use super::query::{Env, Generator};

impl Generator<'_> {
    /// An aggregate of that type over the rows below a GROUP BY.
    pub fn aggregate(&mut self, ty: Ty, env: &Env, depth: u32) -> Expr {
        let below = Env { grouped: None, ..env.clone() };
        let any = [Ty::Int4, Ty::Text, Ty::Numeric, Ty::Bool, Ty::Date, Ty::Int8];
        let tame = |this: &mut Self, ty| this.expr(ty, &below, depth.min(1));
        let (template, part): (&str, Expr) = match ty {
            Ty::Int8 => match self.rng.random_range(0..5) {
                0 => return self.filtered(ty, "count(*)", Vec::new(), &below),
                1 => ("sum({})", tame(self, Ty::Int4)),
                2 => ("sum({})", tame(self, Ty::Int2)),
                3 => {
                    let of = self.pick(&any).unwrap_or(Ty::Int4);
                    let part = Piece::Fixed(self.item(of, &below, 0));
                    return self.filtered(ty, "count(DISTINCT {})", vec![part], &below);
                }
                _ => {
                    let of = self.pick(&any).unwrap_or(Ty::Int4);
                    ("count({})", self.item(of, &below, 1))
                }
            },
            Ty::Numeric => match self.rng.random_range(0..8) {
                0..=1 => ("sum({})", tame(self, Ty::Numeric)),
                2 => ("sum(DISTINCT {})", tame(self, Ty::Numeric)),
                3 => ("round(avg({}), 6)", tame(self, Ty::Int4)),
                4 => ("avg({})", tame(self, Ty::Numeric)),
                5 => ("sum({})", self.item(Ty::Int8, &below, 0)),
                6 => ("round(stddev_samp({}), 6)", tame(self, Ty::Int4)),
                _ => ("max({})", tame(self, Ty::Numeric)),
            },
            Ty::Float8 => match self.rng.random_range(0..5) {
                0 => ("sum({})", tame(self, Ty::Float8)),
                1 => ("avg({})", tame(self, Ty::Float8)),
                2 => ("percentile_cont(0.5) WITHIN GROUP (ORDER BY {})", tame(self, Ty::Float8)),
                3 => ("percentile_cont(0.25) WITHIN GROUP (ORDER BY {}::float8)", tame(self, Ty::Int4)),
                _ => ("min({})", self.item(Ty::Float8, &below, 0)),
            },
            Ty::Bool => {
                (["bool_and({})", "bool_or({})", "every({})"][self.rng.random_range(0..3)], self.condition(&below, 1))
            }
            Ty::Text => match self.rng.random_range(0..5) {
                0 => {
                    let text = self.item(Ty::Text, &below, 0);
                    let pieces = vec![Piece::Fixed(text.clone()), Piece::Fixed(text)];
                    return self.filtered(ty, "string_agg({}, ',' ORDER BY {})", pieces, &below);
                }
                1 => ("string_agg(DISTINCT {}, '|')", Expr::leaf(Ty::Text, self.leaf_text(&below))),
                2 => ("max({})", self.item(Ty::Text, &below, 0)),
                3 => ("percentile_disc(0.5) WITHIN GROUP (ORDER BY {}::text)", self.item(Ty::Text, &below, 0)),
                _ => ("min({})", tame(self, Ty::Text)),
            },
            Ty::IntArray => {
                let value = self.item(Ty::Int4, &below, 0);
                let pieces = vec![Piece::Fixed(value.clone()), Piece::Fixed(value)];
                let template = ["array_agg({} ORDER BY {})", "array_agg({} ORDER BY {} DESC NULLS LAST)"];
                let template = template[self.rng.random_range(0..2)];
                return self.filtered(ty, template, pieces, &below);
            }
            Ty::Uuid | Ty::Bytea => return self.constant(ty),
            Ty::Jsonb => {
                let value = self.item(Ty::Int4, &below, 0);
                let pieces = vec![Piece::Fixed(value.clone()), Piece::Fixed(value)];
                return self.filtered(ty, "jsonb_agg({} ORDER BY {})", pieces, &below);
            }
            _ => {
                let function = if self.chance(0.5) { "max({})" } else { "min({})" };
                (function, self.item(ty, &below, 1))
            }
        };
        self.filtered(ty, template, vec![Piece::Expr(part)], &below)
    }

    fn leaf_text(&mut self, env: &Env) -> String {
        let texts: Vec<String> =
            env.leaves().into_iter().filter(|leaf| leaf.ty == Ty::Text).map(|leaf| leaf.sql).collect();
        self.pick(&texts).unwrap_or_else(|| "'x'::text".to_owned())
    }

    /// The aggregate, sometimes with a FILTER.
    fn filtered(&mut self, ty: Ty, template: &str, mut pieces: Vec<Piece>, below: &Env) -> Expr {
        let wrapped = template.starts_with("round(");
        if !wrapped && self.chance(0.2) {
            pieces.push(Piece::Expr(self.condition(below, 0)));
            return Expr::with(ty, &format!("{template} FILTER (WHERE {{}})"), pieces);
        }
        Expr::with(ty, template, pieces)
    }

    /// A window function of that type, when there is one.
    pub fn window(&mut self, ty: Ty, env: &Env, depth: u32) -> Option<Expr> {
        let total: Vec<String> = match &env.grouped {
            Some(keys) if keys.is_empty() => return None,
            Some(keys) => keys.iter().map(|key| key.sql.clone()).collect(),
            None => env.rels.iter().flat_map(|rel| rel.total.clone()).collect(),
        };
        let leaves = env.leaves();
        let partition = self.pick(&leaves).filter(|_| self.rng.random_bool(0.6));
        let partition = partition.map_or(String::new(), |leaf| format!("PARTITION BY {} ", leaf.sql));
        let by = self.pick(&leaves).map_or_else(|| total[0].clone(), |leaf| leaf.sql);
        let direction = self.pick(&["", " DESC", " NULLS FIRST"]).unwrap_or("");
        let total = format!("{by}{direction}, {}", total.join(", "));
        let inner = depth.min(1);
        // A bare literal has no type here.
        let cast = if ty == Ty::Text { "::text" } else { "" };
        let (template, part) = match ty {
            Ty::Int8 => match self.rng.random_range(0..6) {
                0 => (format!("row_number() OVER ({partition}ORDER BY {total})"), None),
                1 => (format!("rank() OVER ({partition}ORDER BY {by}{direction})"), None),
                2 => (format!("dense_rank() OVER ({partition}ORDER BY {by})"), None),
                3 => (format!("count(*) OVER ({partition})"), None),
                4 => (
                    format!("sum({{}}) OVER ({partition}ORDER BY {total} ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)"),
                    Some(self.expr(Ty::Int4, env, inner)),
                ),
                _ => (format!("count({{}}) OVER ({partition}ORDER BY {by})"), Some(self.item(Ty::Text, env, 0))),
            },
            Ty::Int4 => match self.rng.random_range(0..3) {
                0 => (format!("ntile(3) OVER ({partition}ORDER BY {total})"), None),
                1 => (format!("lag({{}}) OVER ({partition}ORDER BY {total})"), Some(self.item(ty, env, inner))),
                _ => (format!("first_value({{}}) OVER ({partition}ORDER BY {total})"), Some(self.item(ty, env, inner))),
            },
            Ty::Numeric => (
                format!("sum({{}}) OVER ({partition}ORDER BY {total} ROWS UNBOUNDED PRECEDING)"),
                Some(self.expr(ty, env, inner)),
            ),
            Ty::Float8 => (format!("percent_rank() OVER ({partition}ORDER BY {by})"), None),
            Ty::Text | Ty::Date | Ty::Timestamp | Ty::Uuid => match self.rng.random_range(0..2) {
                0 => (format!("lead({{}}{cast}, 2) OVER ({partition}ORDER BY {total})"), Some(self.item(ty, env, 0))),
                _ => (
                    format!(
                        "last_value({{}}{cast}) OVER ({partition}ORDER BY {total} ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING)"
                    ),
                    Some(self.item(ty, env, 0)),
                ),
            },
            _ => return None,
        };
        let pieces = part.into_iter().map(Piece::Expr).collect();
        Some(Expr::with(ty, &template, pieces))
    }
}
