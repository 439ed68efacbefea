//! Our expressions as DataFusion's.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_plan::PhysicalExpr;

use crate::datum::{Datum, Reader, Writer};
use crate::expr::{Expr, Row};
use crate::keys;
use crate::types::PgType;

/// An expression computed row by row. It has no children for DataFusion to look into: nothing of it may be reordered.
#[derive(Debug)]
pub struct RowExpr {
    expr: Arc<Expr>,
    data_type: DataType,
    /// The types of the input's columns.
    columns: Arc<[PgType]>,
    /// Which of them it reads.
    read: Vec<bool>,
    parameters: Arc<[Datum<'static>]>,
}

impl RowExpr {
    pub fn new(expr: Expr, ty: PgType, columns: &Arc<[PgType]>, parameters: &Arc<[Datum<'static>]>) -> Self {
        let mut read = vec![false; columns.len()];
        expr.mark_columns(&mut read);
        Self {
            expr: Arc::new(expr),
            data_type: ty.arrow(),
            columns: Arc::clone(columns),
            read,
            parameters: Arc::clone(parameters),
        }
    }
}

impl PartialEq for RowExpr {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.expr, &other.expr)
    }
}

impl Eq for RowExpr {}

impl Hash for RowExpr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.expr).hash(state);
    }
}

impl fmt::Display for RowExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.expr)
    }
}

impl PhysicalExpr for RowExpr {
    fn data_type(&self, _input: &Schema) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn nullable(&self, _input: &Schema) -> Result<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let mut columns = Vec::with_capacity(self.read.len());
        for ((read, ty), array) in self.read.iter().zip(self.columns.iter()).zip(batch.columns()) {
            columns.push(if *read { Some(Reader::new(array, *ty)?) } else { None });
        }
        let mut writer = Writer::new(&self.data_type)?;
        for index in 0..batch.num_rows() {
            let row = Row { columns: &columns, parameters: &self.parameters, index };
            writer.push(&self.expr.evaluate(&row)?)?;
        }
        Ok(ColumnarValue::Array(writer.finish()))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        Vec::new()
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(self)
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The key of a value: see [`crate::keys`].
#[derive(Debug)]
pub struct KeyExpr {
    pub value: Arc<dyn PhysicalExpr>,
    pub ty: PgType,
}

impl PartialEq for KeyExpr {
    fn eq(&self, other: &Self) -> bool {
        self.value.as_ref() == other.value.as_ref() && self.ty == other.ty
    }
}

impl Eq for KeyExpr {}

impl Hash for KeyExpr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.value.hash(state);
        self.ty.hash(state);
    }
}

impl fmt::Display for KeyExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key({})", self.value)
    }
}

impl PhysicalExpr for KeyExpr {
    fn data_type(&self, _input: &Schema) -> Result<DataType> {
        Ok(keys::key_type(self.ty))
    }

    fn nullable(&self, _input: &Schema) -> Result<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let values = self.value.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(ColumnarValue::Array(keys::keys(self.ty, &values)?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.value]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match <[_; 1]>::try_from(children) {
            Ok([value]) => Ok(Arc::new(Self { value, ty: self.ty })),
            Err(_) => Ok(self),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
