//! Constant folding, as far as it shows.
//!
//! PostgreSQL folds constants before it runs a query, and what is folded away raises no error: `x / NULL` is NULL whatever x would
//! raise, `true OR x` is true, and a CASE drops what it cannot reach. Errors in constants it raises although no row may come there; such a
//! merge is refused, so that PostgreSQL does. Follows `eval_const_expressions`.

use crate::compile::Result;
use crate::datum::Datum;
use crate::error::refuse;
use crate::expr::{Expr, Row};

/// `expr` folded.
///
/// # Errors
/// When computing a constant raises an error.
pub fn simplify(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::Column(_) | Expr::Literal(_) | Expr::Parameter(_) | Expr::Aggregate(_) => return Ok(()),
        Expr::Case { branches, otherwise } => {
            let mut kept = Vec::with_capacity(branches.len());
            for (mut condition, mut result) in std::mem::take(branches) {
                simplify(&mut condition)?;
                match condition {
                    Expr::Literal(Datum::Bool(true)) => {
                        // What follows is never reached, and not looked at.
                        **otherwise = result;
                        break;
                    }
                    Expr::Literal(_) => {}
                    condition => {
                        simplify(&mut result)?;
                        kept.push((condition, result));
                    }
                }
            }
            simplify(otherwise)?;
            if kept.is_empty() {
                let reached = std::mem::replace(otherwise.as_mut(), Expr::Literal(Datum::Null));
                *expr = reached;
            } else {
                *branches = kept;
            }
            return Ok(());
        }
        Expr::Coalesce(values) => {
            let mut kept = Vec::with_capacity(values.len());
            for mut value in std::mem::take(values) {
                simplify(&mut value)?;
                match value {
                    Expr::Literal(Datum::Null) => {}
                    last @ Expr::Literal(_) => {
                        kept.push(last);
                        break;
                    }
                    value => kept.push(value),
                }
            }
            *expr = match kept.len() {
                0 => Expr::Literal(Datum::Null),
                1 => kept.remove(0),
                _ => Expr::Coalesce(kept),
            };
            return Ok(());
        }
        _ => {}
    }
    for child in expr.children_mut() {
        simplify(child)?;
    }
    if matches!(expr, Expr::And(_) | Expr::Or(_)) {
        junction(expr);
    }
    let is_strict = matches!(
        expr,
        Expr::Arithmetic { .. }
            | Expr::Compare { .. }
            | Expr::Cast { .. }
            | Expr::Rescale { .. }
            | Expr::Function { .. }
            | Expr::Not(_)
    );
    let children = expr.children();
    if is_strict && children.iter().any(|child| matches!(child, Expr::Literal(Datum::Null))) {
        *expr = Expr::Literal(Datum::Null);
    } else if !children.is_empty() && children.iter().all(|child| matches!(child, Expr::Literal(_))) {
        let row = Row { columns: &[], parameters: &[], index: 0 };
        let value = match expr.evaluate(&row) {
            Ok(value) => value.into_owned(),
            Err(error) => refuse!("a constant that raises: {error}"),
        };
        *expr = Expr::Literal(value);
    }
    Ok(())
}

/// A decisive constant decides; the other one says nothing.
fn junction(expr: &mut Expr) {
    let (decisive, terms) = match expr {
        Expr::And(terms) => (false, terms),
        Expr::Or(terms) => (true, terms),
        _ => return,
    };
    if terms.iter().any(|term| matches!(term, Expr::Literal(Datum::Bool(value)) if *value == decisive)) {
        *expr = Expr::Literal(Datum::Bool(decisive));
        return;
    }
    terms.retain(|term| !matches!(term, Expr::Literal(Datum::Bool(_))));
    match terms.len() {
        0 => *expr = Expr::Literal(Datum::Bool(!decisive)),
        1 => *expr = terms.remove(0),
        _ => {}
    }
}

/// The conjuncts of a condition in the order in which PostgreSQL tests them: cheap ones first, otherwise as written. A row that one
/// of them leaves out raises nothing in those after it. Follows `order_qual_clauses`.
pub fn order_conjuncts(condition: &mut Expr) {
    fn flatten(expr: Expr, into: &mut Vec<Expr>) {
        match expr {
            Expr::And(terms) => terms.into_iter().for_each(|term| flatten(term, into)),
            other => into.push(other),
        }
    }
    if !matches!(condition, Expr::And(_)) {
        return;
    }
    let mut conjuncts = Vec::new();
    flatten(std::mem::replace(condition, Expr::Literal(Datum::Null)), &mut conjuncts);
    conjuncts.sort_by_key(cost);
    *condition = Expr::And(conjuncts);
}

/// The calls of functions in an expression, which all cost the same.
fn cost(expr: &Expr) -> usize {
    let own = match expr {
        Expr::Arithmetic { .. }
        | Expr::Compare { .. }
        | Expr::Distinct { .. }
        | Expr::Rescale { .. }
        | Expr::Function { .. } => 1,
        // Between kinds of text nothing is called.
        Expr::Cast { from, .. } => usize::from(!from.is_text()),
        // Its value is the left side, as it is.
        Expr::NullIf { left, right, .. } => return 1 + cost(left) + cost(right),
        _ => 0,
    };
    own + expr.children().into_iter().map(cost).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::PgType;

    fn int(value: i64) -> Box<Expr> {
        Box::new(Expr::Literal(Datum::Int(value)))
    }

    fn divide(left: Box<Expr>, right: Box<Expr>) -> Expr {
        Expr::Arithmetic { symbol: "/", ty: PgType::Int4, left, right }
    }

    fn simplified(mut expr: Expr) -> String {
        match simplify(&mut expr) {
            Ok(()) => format!("{expr:?}"),
            Err(refused) => refused.reason,
        }
    }

    #[test]
    fn what_is_not_reached_does_not_raise() {
        let raising = divide(int(1), int(0));
        assert_eq!(simplified(raising.clone()), "a constant that raises: division by zero");
        let null = Box::new(Expr::Literal(Datum::Null));
        assert_eq!(simplified(divide(Box::new(divide(Box::new(Expr::Column(0)), int(0))), null)), "Literal(Null)");
        let truth = Expr::Literal(Datum::Bool(true));
        let case = Expr::Case {
            branches: vec![(Expr::Literal(Datum::Bool(false)), raising.clone()), (truth, *int(7))],
            otherwise: Box::new(raising.clone()),
        };
        assert_eq!(simplified(case), "Literal(Int(7))");
        assert_eq!(simplified(Expr::Coalesce(vec![*int(2), raising])), "Literal(Int(2))");
    }

    #[test]
    fn junctions_keep_what_is_open() {
        let (truth, open) = (Expr::Literal(Datum::Bool(true)), Expr::Column(0));
        assert_eq!(simplified(Expr::And(vec![truth.clone(), open.clone()])), "Column(0)");
        assert_eq!(simplified(Expr::Or(vec![open.clone(), truth])), "Literal(Bool(true))");
        assert_eq!(simplified(Expr::Or(vec![open, Expr::Literal(Datum::Null)])), "Or([Column(0), Literal(Null)])");
    }
}
