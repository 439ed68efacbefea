//! Aggregates, as DataFusion's hash aggregation calls them.
//!
//! Each is a fold over single values. A state is a value of the result's type (bigint sums excepted, which run in 128 bits),
//! so that groups can spill and be taken up again.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::mem::size_of;
use std::sync::Arc;

use atoll_wire::numeric::Numeric;
use datafusion::arrow::array::{Array, ArrayRef, BooleanArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};

use crate::compile::AggregateCall;
use crate::datum::{Datum, Reader, WIDE, Writer};
use crate::error::SqlError;
use crate::kernels;
use crate::types::PgType;

/// What is done with each value that is not NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Count,
    Sum,
    Min,
    Max,
    And,
    Or,
    Xor,
    /// Keeps the first: the form in which a group's key is shown.
    First,
}

/// An aggregate: a step over values of one type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fold {
    pub step: Step,
    pub argument: PgType,
    pub result: PgType,
    /// Takes results of the same aggregate over parts of the rows, not values.
    pub of_parts: bool,
}

impl Fold {
    /// The one that a call asks for.
    ///
    /// # Errors
    /// XX000 for a name of the verified list that has no kernel here.
    pub fn of(call: &AggregateCall) -> Result<Self, SqlError> {
        let (step, result) = match call.function {
            None => (Step::Count, PgType::Int8),
            Some(function) => {
                let step = match function.name {
                    "sum" => Step::Sum,
                    "min" => Step::Min,
                    "max" => Step::Max,
                    "bool_and" | "every" | "bit_and" => Step::And,
                    "bool_or" | "bit_or" => Step::Or,
                    "bit_xor" => Step::Xor,
                    other => return Err(SqlError::new("XX000", format!("no kernel for {other}"))),
                };
                (step, function.result)
            }
        };
        Ok(Self { step, argument: call.ty, result, of_parts: false })
    }

    /// The one that keeps a group's first value of a column.
    pub fn first(ty: PgType) -> Self {
        Self { step: Step::First, argument: ty, result: ty, of_parts: false }
    }

    /// The one that combines this one's results.
    pub fn over_parts(&self) -> Self {
        Self { step: self.step, argument: self.result, result: self.result, of_parts: true }
    }

    /// For DataFusion.
    pub fn udaf(self) -> Arc<AggregateUDF> {
        Arc::new(AggregateUDF::from(FoldUdaf { fold: self, signature: Signature::any(1, Volatility::Immutable) }))
    }

    fn is_wide(&self) -> bool {
        self.step == Step::Sum && self.argument == PgType::Int8 && !self.of_parts
    }

    fn state_arrow(&self) -> DataType {
        if self.is_wide() { WIDE } else { self.result.arrow() }
    }

    /// The state before any value.
    fn initial(&self) -> Datum<'static> {
        if self.step == Step::Count { Datum::Int(0) } else { Datum::Null }
    }

    /// Takes `value` into `state`.
    fn take(&self, state: &mut Datum<'static>, value: Datum<'_>) -> Result<(), SqlError> {
        if value.is_null() {
            return Ok(());
        }
        match self.step {
            _ if self.of_parts => self.merge(state, value),
            Step::Count => {
                if let Datum::Int(count) = state {
                    *count += 1;
                }
                Ok(())
            }
            Step::Sum if self.is_wide() => match value {
                Datum::Int(value) => self.merge(state, Datum::Wide(i128::from(value))),
                other => self.merge(state, other),
            },
            _ => self.merge(state, value),
        }
    }

    /// Takes another state of the same fold into `state`.
    fn merge(&self, state: &mut Datum<'static>, other: Datum<'_>) -> Result<(), SqlError> {
        if other.is_null() {
            return Ok(());
        }
        if state.is_null() {
            *state = other.into_owned();
            return Ok(());
        }
        match self.step {
            Step::Count | Step::Sum => *state = add(state, &other, self.step)?,
            Step::Min => {
                // On a tie PostgreSQL takes the later value, except of bpchar.
                let order = kernels::compare(self.argument, state, &other)?;
                if order.is_gt() || (order.is_eq() && self.argument != PgType::Bpchar) {
                    *state = other.into_owned();
                }
            }
            Step::Max => {
                let order = kernels::compare(self.argument, state, &other)?;
                if order.is_lt() || (order.is_eq() && self.argument != PgType::Bpchar) {
                    *state = other.into_owned();
                }
            }
            Step::And | Step::Or | Step::Xor => {
                let combined = match (&*state, &other) {
                    (Datum::Bool(left), Datum::Bool(right)) if self.step == Step::And => Datum::Bool(*left && *right),
                    (Datum::Bool(left), Datum::Bool(right)) => Datum::Bool(*left || *right),
                    (Datum::Int(left), Datum::Int(right)) => Datum::Int(match self.step {
                        Step::And => left & right,
                        Step::Or => left | right,
                        _ => left ^ right,
                    }),
                    _ => return Err(mismatch()),
                };
                *state = combined;
            }
            Step::First => {}
        }
        Ok(())
    }

    /// The result of a state.
    fn finish(state: Datum<'static>) -> Datum<'static> {
        match state {
            Datum::Wide(sum) => Datum::Numeric(Numeric::from_i128(sum)),
            other => other,
        }
    }
}

fn mismatch() -> SqlError {
    SqlError::new("XX000", "an aggregate's values are of several types")
}

fn add(state: &Datum<'_>, other: &Datum<'_>, step: Step) -> Result<Datum<'static>, SqlError> {
    Ok(match (state, other) {
        // Counts never get there, and sums of integers wrap in PostgreSQL, too.
        (Datum::Int(left), Datum::Int(right)) => Datum::Int(left.wrapping_add(*right)),
        (Datum::Wide(left), Datum::Wide(right)) => Datum::Wide(left.wrapping_add(*right)),
        (Datum::Numeric(left), Datum::Numeric(right)) => Datum::Numeric(left.add(right)?),
        (Datum::Float4(_), Datum::Float4(_)) => kernels::arithmetic("+", PgType::Float4, state, other)?,
        (Datum::Float8(_), Datum::Float8(_)) if step == Step::Sum => {
            kernels::arithmetic("+", PgType::Float8, state, other)?
        }
        _ => return Err(mismatch()),
    })
}

#[derive(Debug)]
struct FoldUdaf {
    fold: Fold,
    signature: Signature,
}

impl PartialEq for FoldUdaf {
    fn eq(&self, other: &Self) -> bool {
        self.fold == other.fold
    }
}

impl Eq for FoldUdaf {}

impl Hash for FoldUdaf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fold.hash(state);
    }
}

impl AggregateUDFImpl for FoldUdaf {
    fn name(&self) -> &'static str {
        match self.fold.step {
            Step::Count => "pg_count",
            Step::Sum => "pg_sum",
            Step::Min => "pg_min",
            Step::Max => "pg_max",
            Step::And => "pg_and",
            Step::Or => "pg_or",
            Step::Xor => "pg_xor",
            Step::First => "pg_first",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.fold.result.arrow())
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Single(Groups::new(self.fold.clone()))))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[state]", args.name), self.fold.state_arrow(), true))])
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups::new(self.fold.clone())))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// The states of all groups.
struct Groups {
    fold: Fold,
    states: Vec<Datum<'static>>,
    /// What the states hold outside the vector, in bytes.
    heap: usize,
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("fold", &self.fold).field("groups", &self.states.len()).finish()
    }
}

impl Groups {
    fn new(fold: Fold) -> Self {
        Self { fold, states: Vec::new(), heap: 0 }
    }

    fn resize(&mut self, groups: usize) {
        let initial = self.fold.initial();
        self.states.resize(groups.max(self.states.len()), initial);
    }

    fn update(
        &mut self,
        array: &ArrayRef,
        ty: PgType,
        rows: impl Iterator<Item = (usize, usize)>,
        take: fn(&Fold, &mut Datum<'static>, Datum<'_>) -> Result<(), SqlError>,
    ) -> Result<()> {
        let reader = Reader::new(array, ty)?;
        for (row, group) in rows {
            let state = &mut self.states[group];
            let before = state.heap_size();
            take(&self.fold, state, reader.get(row)?)?;
            self.heap = (self.heap + state.heap_size()).saturating_sub(before);
        }
        Ok(())
    }

    fn emit(&mut self, emit_to: EmitTo) -> Vec<Datum<'static>> {
        let emitted = emit_to.take_needed(&mut self.states);
        let heap: usize = emitted.iter().map(Datum::heap_size).sum();
        self.heap = self.heap.saturating_sub(heap);
        emitted
    }
}

fn write(values: impl Iterator<Item = Datum<'static>>, data_type: &DataType) -> Result<ArrayRef> {
    let mut writer = Writer::new(data_type)?;
    for value in values {
        writer.push(&value)?;
    }
    Ok(writer.finish())
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.resize(total_num_groups);
        let chosen = |row: &usize| filter.is_none_or(|filter| filter.is_valid(*row) && filter.value(*row));
        let rows = group_indices.iter().copied().enumerate().filter(|(row, _)| chosen(row));
        self.update(&values[0], self.fold.argument, rows, Fold::take)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let emitted = self.emit(emit_to);
        write(emitted.into_iter().map(Fold::finish), &self.fold.result.arrow())
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let emitted = self.emit(emit_to);
        Ok(vec![write(emitted.into_iter(), &self.fold.state_arrow())?])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.resize(total_num_groups);
        let rows = group_indices.iter().copied().enumerate();
        self.update(&values[0], self.fold.result, rows, Fold::merge)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut states = Self::new(self.fold.clone());
        let rows: Vec<usize> = (0..values[0].len()).collect();
        states.update_batch(values, &rows, filter, rows.len())?;
        states.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.states.capacity() * size_of::<Datum<'static>>() + self.heap
    }
}

/// The aggregate over everything: one group.
#[derive(Debug)]
struct Single(Groups);

impl Accumulator for Single {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.resize(1);
        self.0.update(&values[0], self.0.fold.argument, (0..values[0].len()).map(|row| (row, 0)), Fold::take)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.resize(1);
        let array = GroupsAccumulator::evaluate(&mut self.0, EmitTo::All)?;
        ScalarValue::try_from_array(&array, 0)
    }

    fn size(&self) -> usize {
        GroupsAccumulator::size(&self.0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.resize(1);
        let arrays = GroupsAccumulator::state(&mut self.0, EmitTo::All)?;
        arrays.iter().map(|array| ScalarValue::try_from_array(array, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.resize(1);
        self.0.update(&states[0], self.0.fold.result, (0..states[0].len()).map(|row| (row, 0)), Fold::merge)
    }
}
