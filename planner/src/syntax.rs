//! The tree of a query or of a data-modifying statement, every node with its place in the text.
//!
//! It keeps what planning needs: names, keys' constraints, aggregates, clauses. Everything else is text, taken by span: nothing is
//! ever printed from the tree, so what a shard runs is what the client wrote.

use std::borrow::Cow;

use crate::scan::Span;

#[derive(Clone, Debug, PartialEq)]
pub struct Ident<'a> {
    /// Folded as PostgreSQL folds it.
    pub name: Cow<'a, str>,
    pub span: Span,
}

/// `a`, `a.b`, `a.b.c`, ...
#[derive(Clone, Debug, PartialEq)]
pub struct Name<'a> {
    pub parts: Vec<Ident<'a>>,
}

impl Name<'_> {
    pub fn span(&self) -> Span {
        match (self.parts.first(), self.parts.last()) {
            (Some(first), Some(last)) => first.span.to(last.span),
            _ => Span::default(),
        }
    }

    /// The last part.
    pub fn last(&self) -> &str {
        self.parts.last().map_or("", |part| part.name.as_ref())
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Expr<'a> {
    pub span: Span,
    pub kind: ExprKind<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind<'a> {
    /// A column, perhaps qualified; perhaps the name of a whole row.
    Column(Name<'a>),
    Integer,
    Numeric,
    /// A string constant's value; `None` when only PostgreSQL can tell it.
    String(Option<Cow<'a, str>>),
    Bits,
    Null,
    Boolean,
    /// `DEFAULT` as a value of INSERT or UPDATE.
    Default,
    /// Zero-based.
    Parameter(usize),
    Cast {
        operand: Box<Expr<'a>>,
        target: TypeName<'a>,
    },
    And(Vec<Expr<'a>>),
    Or(Vec<Expr<'a>>),
    Not(Box<Expr<'a>>),
    Compare {
        comparison: Comparison,
        left: Box<Expr<'a>>,
        right: Box<Expr<'a>>,
    },
    /// Any other infix operator.
    Binary {
        operator: Span,
        left: Box<Expr<'a>>,
        right: Box<Expr<'a>>,
    },
    Unary {
        operator: Span,
        operand: Box<Expr<'a>>,
    },
    In {
        negated: bool,
        operand: Box<Expr<'a>>,
        list: Vec<Expr<'a>>,
    },
    InQuery {
        negated: bool,
        operand: Box<Expr<'a>>,
        query: Box<Query<'a>>,
    },
    /// `operand op ANY (array)` and `ALL`.
    Quantified {
        equal: bool,
        any: bool,
        operand: Box<Expr<'a>>,
        array: Box<Expr<'a>>,
    },
    /// `operand op ANY (query)` and `ALL`.
    QuantifiedQuery {
        equal: bool,
        any: bool,
        operand: Box<Expr<'a>>,
        query: Box<Query<'a>>,
    },
    Call(Box<Call<'a>>),
    /// `(query)`
    Subquery(Box<Query<'a>>),
    Exists(Box<Query<'a>>),
    /// `ARRAY(query)`
    ArrayQuery(Box<Query<'a>>),
    /// `ARRAY[...]`
    Array(Vec<Expr<'a>>),
    /// `(a, b)` or `ROW(a, b)`
    Row(Vec<Expr<'a>>),
    /// `(expression)`
    Nested(Box<Expr<'a>>),
    /// `*` or `t.*` where an expression may stand.
    Star(Option<Name<'a>>),
    /// Everything else: its operands, and the name PostgreSQL gives an output column of it.
    Other {
        name: OtherName<'a>,
        operands: Vec<Expr<'a>>,
    },
}

/// How PostgreSQL names an output column of an expression without alias.
#[derive(Clone, Debug, PartialEq)]
pub enum OtherName<'a> {
    /// `?column?`
    None,
    /// `?column?`, of `operand BETWEEN low AND high`.
    Between,
    Fixed(&'static str),
    /// `(x).field`
    Field(Cow<'a, str>),
    /// As its first operand (a subscript, COLLATE).
    FirstOperand,
    /// CASE: as its ELSE, the last operand, when that gives a name; `case` otherwise.
    Case {
        has_else: bool,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct TypeName<'a> {
    pub span: Span,
    /// The last part of the name in PostgreSQL's internal spelling (`int4`, `timestamptz`, `varchar`).
    pub name: Cow<'a, str>,
    /// More than one part, or `pg_catalog.` in front.
    pub schema: Option<Cow<'a, str>>,
    /// `(10, 2)` or the like stands behind it.
    pub modified: bool,
    pub array: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Call<'a> {
    pub name: Name<'a>,
    /// Written without parentheses (`current_date`), or with special syntax (`extract(... from ...)`).
    pub special: bool,
    /// `count(*)`
    pub star: bool,
    pub distinct: bool,
    pub variadic: bool,
    pub arguments: Vec<Expr<'a>>,
    /// ORDER BY among the arguments.
    pub order_by: Vec<OrderItem<'a>>,
    pub within_group: Vec<OrderItem<'a>>,
    pub filter: Option<Expr<'a>>,
    pub over: Option<Window<'a>>,
    /// From behind the name to the end of the closing parenthesis.
    pub parentheses: Span,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct Window<'a> {
    /// `OVER w`, or the window a definition starts from.
    pub base: Option<Ident<'a>>,
    pub partition_by: Vec<Expr<'a>>,
    pub order_by: Vec<OrderItem<'a>>,
    /// Expressions of the frame's bounds.
    pub frame: Vec<Expr<'a>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct OrderItem<'a> {
    pub span: Span,
    pub expr: Expr<'a>,
    /// ASC, DESC, USING, NULLS FIRST, as written behind the expression.
    pub direction: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Query<'a> {
    /// Without the parentheses around it.
    pub span: Span,
    pub with: Option<With<'a>>,
    pub body: Body<'a>,
    pub order_by: Vec<OrderItem<'a>>,
    pub limit: Option<Limit<'a>>,
    pub offset: Option<Expr<'a>>,
    /// FOR UPDATE and its kin: each clause's place.
    pub locks: Vec<Span>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Limit<'a> {
    pub count: LimitCount<'a>,
    pub with_ties: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum LimitCount<'a> {
    /// LIMIT ALL
    All,
    /// FETCH FIRST ROW ONLY
    One,
    Expr(Expr<'a>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct With<'a> {
    pub span: Span,
    pub recursive: bool,
    pub ctes: Vec<Cte<'a>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Cte<'a> {
    pub name: Ident<'a>,
    pub columns: Vec<Ident<'a>>,
    pub statement: Statement<'a>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body<'a> {
    Select(Box<Select<'a>>),
    Values {
        rows: Vec<Vec<Expr<'a>>>,
    },
    /// `TABLE t`
    Table(Box<TableRef<'a>>),
    SetOperation {
        union: bool,
        all: bool,
        left: Box<Query<'a>>,
        right: Box<Query<'a>>,
    },
    Nested(Box<Query<'a>>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Select<'a> {
    pub span: Span,
    pub distinct: Option<Distinct<'a>>,
    pub items: Vec<SelectItem<'a>>,
    pub into: Option<Span>,
    /// What stands behind FROM.
    pub from_span: Option<Span>,
    pub from: Vec<FromItem<'a>>,
    pub selection: Option<Expr<'a>>,
    pub group_by: Option<GroupBy<'a>>,
    pub having: Option<Expr<'a>>,
    pub windows: Vec<(Ident<'a>, Window<'a>)>,
    pub windows_span: Option<Span>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Distinct<'a> {
    All,
    On(Vec<Expr<'a>>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct GroupBy<'a> {
    /// What stands behind GROUP BY.
    pub span: Span,
    /// GROUPING SETS, CUBE, ROLLUP, `()` or DISTINCT among them: the expressions are then only collected.
    pub sets: bool,
    pub exprs: Vec<Expr<'a>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SelectItem<'a> {
    pub span: Span,
    pub expr: Expr<'a>,
    pub alias: Option<Ident<'a>>,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct Alias<'a> {
    pub name: Option<Ident<'a>>,
    /// `t (a, b)`; of a function also with types.
    pub columns: Vec<Ident<'a>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TableRef<'a> {
    pub name: Name<'a>,
    pub only: bool,
    pub alias: Option<Alias<'a>>,
    /// Where an alias would have to be written when there is none; `None` where none can be (`TABLE t`).
    pub alias_place: Option<usize>,
    /// TABLESAMPLE, and the expressions in it.
    pub sample: Option<Span>,
    pub sample_exprs: Vec<Expr<'a>>,
}

impl TableRef<'_> {
    /// What its columns are qualified with.
    pub fn visible_name(&self) -> &str {
        match self.alias.as_ref().and_then(|alias| alias.name.as_ref()) {
            Some(name) => &name.name,
            None => self.name.last(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    Inner,
    Cross,
    Left,
    Right,
    Full,
}

#[derive(Clone, Debug, PartialEq)]
pub enum JoinCondition<'a> {
    None,
    Natural,
    On(Expr<'a>),
    Using(Vec<Ident<'a>>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum FromItem<'a> {
    Table(Box<TableRef<'a>>),
    Query {
        lateral: bool,
        query: Box<Query<'a>>,
        alias: Option<Alias<'a>>,
        span: Span,
    },
    /// Functions (also ROWS FROM and XMLTABLE).
    Function {
        lateral: bool,
        exprs: Vec<Expr<'a>>,
        alias: Option<Alias<'a>>,
        span: Span,
    },
    Join {
        kind: JoinKind,
        left: Box<FromItem<'a>>,
        right: Box<FromItem<'a>>,
        condition: JoinCondition<'a>,
        alias: Option<Alias<'a>>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Statement<'a> {
    Query(Box<Query<'a>>),
    Insert(Box<Insert<'a>>),
    Update(Box<Update<'a>>),
    Delete(Box<Delete<'a>>),
    Merge(Box<MergeInto<'a>>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Insert<'a> {
    pub span: Span,
    pub with: Option<With<'a>>,
    pub target: TableRef<'a>,
    pub columns: Option<Vec<InsertColumn<'a>>>,
    pub overriding: Option<Overriding>,
    pub source: InsertSource<'a>,
    pub on_conflict: Option<OnConflict<'a>>,
    pub returning: Option<Returning<'a>>,
    /// Where the text behind the source begins (ON CONFLICT, RETURNING).
    pub tail: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct InsertColumn<'a> {
    pub name: Ident<'a>,
    /// With subscripts or fields behind it.
    pub indirect: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overriding {
    System,
    User,
}

#[derive(Clone, Debug, PartialEq)]
pub enum InsertSource<'a> {
    DefaultValues,
    /// A plain VALUES list.
    Values(Vec<InsertValues<'a>>),
    Query(Box<Query<'a>>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct InsertValues<'a> {
    /// Between the parentheses.
    pub span: Span,
    pub values: Vec<Expr<'a>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct OnConflict<'a> {
    pub exprs: Vec<Expr<'a>>,
    pub assignments: Vec<Assignment<'a>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Returning<'a> {
    pub span: Span,
    pub items: Vec<SelectItem<'a>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Assignment<'a> {
    pub columns: Vec<InsertColumn<'a>>,
    pub value: Expr<'a>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Update<'a> {
    pub span: Span,
    pub with: Option<With<'a>>,
    pub target: TableRef<'a>,
    pub assignments: Vec<Assignment<'a>>,
    pub from: Vec<FromItem<'a>>,
    pub selection: Option<Expr<'a>>,
    /// WHERE CURRENT OF cursor
    pub current_of: Option<Ident<'a>>,
    pub returning: Option<Returning<'a>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Delete<'a> {
    pub span: Span,
    pub with: Option<With<'a>>,
    pub target: TableRef<'a>,
    pub using: Vec<FromItem<'a>>,
    pub selection: Option<Expr<'a>>,
    pub current_of: Option<Ident<'a>>,
    pub returning: Option<Returning<'a>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MergeInto<'a> {
    pub span: Span,
    pub with: Option<With<'a>>,
    pub target: TableRef<'a>,
    pub source: FromItem<'a>,
    pub condition: Expr<'a>,
    /// Every expression of the WHEN clauses.
    pub exprs: Vec<Expr<'a>>,
    /// Columns that WHEN MATCHED THEN UPDATE sets, with their values.
    pub assignments: Vec<Assignment<'a>>,
    /// Columns and values of WHEN NOT MATCHED THEN INSERT; no columns: all of the table's.
    pub inserts: Vec<(Vec<InsertColumn<'a>>, Vec<Expr<'a>>)>,
}

/// What stands directly below an expression.
#[derive(Clone, Copy)]
pub enum Child<'t, 'a> {
    Expr(&'t Expr<'a>),
    Query(&'t Query<'a>),
}

impl<'a> Expr<'a> {
    /// Calls `visit` for each operand and each subquery directly below.
    pub fn children<'t>(&'t self, visit: &mut dyn FnMut(Child<'t, 'a>)) {
        let mut expr = |expr: &'t Expr<'a>| visit(Child::Expr(expr));
        match &self.kind {
            ExprKind::Column(_)
            | ExprKind::Integer
            | ExprKind::Numeric
            | ExprKind::String(_)
            | ExprKind::Bits
            | ExprKind::Null
            | ExprKind::Boolean
            | ExprKind::Default
            | ExprKind::Parameter(_)
            | ExprKind::Star(_) => {}
            ExprKind::Cast { operand, .. }
            | ExprKind::Not(operand)
            | ExprKind::Unary { operand, .. }
            | ExprKind::Nested(operand) => expr(operand),
            ExprKind::And(list) | ExprKind::Or(list) | ExprKind::Array(list) | ExprKind::Row(list) => {
                list.iter().for_each(expr);
            }
            ExprKind::Other { operands, .. } => operands.iter().for_each(expr),
            ExprKind::Compare { left, right, .. } | ExprKind::Binary { left, right, .. } => {
                expr(left);
                expr(right);
            }
            ExprKind::In { operand, list, .. } => {
                expr(operand);
                list.iter().for_each(expr);
            }
            ExprKind::InQuery { operand, query, .. } | ExprKind::QuantifiedQuery { operand, query, .. } => {
                expr(operand);
                visit(Child::Query(query));
            }
            ExprKind::Quantified { operand, array, .. } => {
                expr(operand);
                expr(array);
            }
            ExprKind::Subquery(query) | ExprKind::Exists(query) | ExprKind::ArrayQuery(query) => {
                visit(Child::Query(query))
            }
            ExprKind::Call(call) => {
                call.arguments.iter().for_each(&mut expr);
                call.order_by.iter().chain(&call.within_group).for_each(|item| expr(&item.expr));
                call.filter.iter().for_each(&mut expr);
                if let Some(window) = &call.over {
                    window.exprs(&mut expr);
                }
            }
        }
    }

    /// Whether this or anything below it, subqueries aside, satisfies a condition.
    pub fn any(&self, condition: &mut dyn FnMut(&Expr<'a>) -> bool) -> bool {
        if condition(self) {
            return true;
        }
        let mut found = false;
        self.children(&mut |child| {
            if let Child::Expr(expr) = child {
                found = found || expr.any(condition);
            }
        });
        found
    }

    /// Whether a subquery is in it.
    pub fn has_subquery(&self) -> bool {
        let mut found = false;
        self.children(&mut |child| {
            found = found
                || match child {
                    Child::Expr(expr) => expr.has_subquery(),
                    Child::Query(_) => true,
                };
        });
        found
    }

    /// Without the parentheses around it.
    pub fn bare(&self) -> &Expr<'a> {
        match &self.kind {
            ExprKind::Nested(inner) => inner.bare(),
            _ => self,
        }
    }

    /// The operands of AND at the top, or the expression itself.
    pub fn conjuncts(&self) -> Vec<&Expr<'a>> {
        match &self.bare().kind {
            ExprKind::And(operands) => operands.iter().flat_map(Expr::conjuncts).collect(),
            _ => vec![self],
        }
    }
}

impl<'a> Window<'a> {
    pub fn exprs<'t>(&'t self, expr: &mut dyn FnMut(&'t Expr<'a>)) {
        self.partition_by.iter().for_each(&mut *expr);
        self.order_by.iter().for_each(|item| expr(&item.expr));
        self.frame.iter().for_each(expr);
    }
}
