//! Functions of a few letters that ask for any amount of memory: `repeat('x', 2000000000)`, `range(0, 1000000000000)`.
//! What they make is outside the memory that a statement is given, so each call has a limit of its own.

use std::cell::LazyCell;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringViewArray};
use arrow::compute::cast;
use arrow::compute::kernels::length::length;
use arrow::datatypes::{
    DataType, FieldRef, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, TimeUnit,
};
use datafusion::common::{Result, exec_err};
use datafusion::error::DataFusionError;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ExpressionPlacement, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature,
};
use regex::Regex;

use super::room;
use crate::error::{Error, ErrorKind};

/// Bytes that one call may make for the rows of one batch.
const MOST_BYTES: u64 = 64 << 20;
/// Bytes of an element of a list, about.
const ELEMENT_BYTES: u64 = 8;

/// How large the result of a function is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Growth {
    /// The first argument, as often as the second says.
    Repeats,
    /// As many characters as the second argument says.
    Pads,
    /// As many elements as the second argument says, new ones as the third.
    Resizes,
    /// The elements of the first argument, the second between them.
    Joins,
    /// All arguments, one behind the other.
    Adds,
    /// The same, with the first one between the others.
    Separates,
    /// From the first argument to the second, by the third.
    Counts,
    /// Every place of the second argument in the first becomes the third.
    Replaces,
    /// The same by patterns: the first place, or every one where the fourth argument says so.
    Rewrites,
}

const GROWING: [(&str, Growth); 12] = [
    ("repeat", Growth::Repeats),
    ("lpad", Growth::Pads),
    ("rpad", Growth::Pads),
    ("array_repeat", Growth::Repeats),
    ("array_resize", Growth::Resizes),
    ("array_to_string", Growth::Joins),
    ("range", Growth::Counts),
    ("generate_series", Growth::Counts),
    ("concat", Growth::Adds),
    ("concat_ws", Growth::Separates),
    ("replace", Growth::Replaces),
    ("regexp_replace", Growth::Rewrites),
];

/// What stands for the operator `||`.
pub(super) const JOIN: &str = "||";

/// Puts the limit on those functions of a registry that need one, under all of their names.
pub(crate) fn limit(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for (name, growth) in GROWING {
        let inner = registry.udf(name)?.as_ref().clone();
        registry.register_udf(Arc::new(ScalarUDF::from(Bounded { inner, growth })))?;
    }
    Ok(())
}

/// Whether a call of that function may make much more than it is given.
pub(crate) fn is_growing(name: &str) -> bool {
    name == JOIN || GROWING.iter().any(|(growing, _)| *growing == name)
}

/// A function as it is, but for results that are too large.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Bounded {
    inner: ScalarUDF,
    growth: Growth,
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(arguments)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arguments)
    }

    fn is_strict(&self) -> bool {
        self.inner.inner().is_strict()
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        check(self.name(), self.growth, &call.args, call.number_rows)?;
        self.inner.invoke_with_args(call)
    }

    fn simplify(
        &self,
        arguments: Vec<Expr>,
        context: &SimplifyContext,
    ) -> Result<ExprSimplifyResult> {
        let simplified = self.inner.simplify(arguments, context)?;
        let ExprSimplifyResult::Simplified(Expr::ScalarFunction(mut call)) = simplified else {
            return Ok(simplified);
        };
        // The same function with fewer arguments would be the one without a limit.
        if call.func.name() == self.name() {
            call.func = Arc::new(ScalarUDF::from(self.clone()));
        }
        Ok(ExprSimplifyResult::Simplified(Expr::ScalarFunction(call)))
    }

    fn preimage(
        &self,
        arguments: &[Expr],
        literal: &Expr,
        context: &SimplifyContext,
    ) -> Result<PreimageResult> {
        self.inner.preimage(arguments, literal, context)
    }

    fn evaluate_bounds(&self, inputs: &[&Interval]) -> Result<Interval> {
        self.inner.evaluate_bounds(inputs)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.inner.preserves_lex_ordering(inputs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn placement(&self, arguments: &[ExpressionPlacement]) -> ExpressionPlacement {
        self.inner.inner().placement(arguments)
    }
}

fn check(name: &str, growth: Growth, arguments: &[ColumnarValue], rows: usize) -> Result<()> {
    let bytes = size(growth, arguments, rows)?;
    if bytes <= MOST_BYTES && room::takes(bytes) {
        return Ok(());
    }
    Err(DataFusionError::ResourcesExhausted(format!(
        "{name} would make {bytes}{AT_ONCE}"
    )))
}

/// Ends what is said of a call that would make too much.
const AT_ONCE: &str = " bytes at once";

/// Whether a call would have made too much, and not all that runs has too little memory.
pub(crate) fn is_too_large(error: &Error) -> bool {
    error.kind() == ErrorKind::ResourceExhausted && error.to_string().ends_with(AT_ONCE)
}

/// Refuses what two texts would make when one is put behind the other.
pub(super) fn check_added(arguments: &[ColumnarValue], rows: usize) -> Result<()> {
    check(JOIN, Growth::Adds, arguments, rows)
}

/// Bytes that a call will make, or about as many.
fn size(growth: Growth, arguments: &[ColumnarValue], rows: usize) -> Result<u64> {
    let arguments: Vec<Argument> = arguments.iter().map(Argument::of).collect::<Result<_>>()?;
    let rows = match arguments.iter().all(|argument| argument.is_scalar) {
        true => 1,
        false => rows,
    };
    let sum = |of: &dyn Fn(usize) -> Option<u64>| {
        let sizes = (0..rows).filter_map(of);
        sizes.fold(0_u64, u64::saturating_add)
    };
    Ok(match (growth, arguments.as_slice()) {
        (Growth::Repeats, [what, times, ..]) => {
            let (sizes, times) = (what.sizes()?, times.numbers());
            sum(&|row| Some(sizes.at(row)?.saturating_mul(times.at(row)?)))
        }
        (Growth::Pads, [_, length, ..]) => {
            let lengths = length.numbers();
            sum(&|row| lengths.at(row))
        }
        (Growth::Resizes, [_, length, fill @ ..]) => {
            let lengths = length.numbers();
            if (0..rows).any(|row| lengths.signed(row).is_some_and(|length| length < 0)) {
                return exec_err!("a list has no negative length");
            }
            let fill = fill.first().map(Argument::sizes).transpose()?;
            sum(&|row| {
                let bytes = fill.as_ref().and_then(|fill| fill.at(row)).unwrap_or(0);
                Some(lengths.at(row)?.saturating_mul(bytes.max(ELEMENT_BYTES)))
            })
        }
        (Growth::Adds, all) => added(all, rows)?,
        (Growth::Separates, [between, all @ ..]) => {
            let times = all.len().saturating_sub(1) as u64;
            let sizes = between.sizes()?;
            let between = sum(&|row| sizes.at(row));
            added(all, rows)?.saturating_add(between.saturating_mul(times))
        }
        // What stands for NULL is a third one.
        (Growth::Joins, [list, words @ ..]) => {
            let (lists, lengths) = (list.sizes()?, list.lengths());
            let words: Vec<Numbers> = words.iter().map(Argument::sizes).collect::<Result<_>>()?;
            sum(&|row| {
                let words = words.iter().filter_map(|word| word.at(row));
                let each = words.fold(0_u64, u64::saturating_add);
                let added = lengths.at(row)?.saturating_mul(each);
                Some(lists.at(row)?.saturating_add(added))
            })
        }
        (Growth::Counts, [end]) => {
            let ends = end.numbers();
            sum(&|row| Some(ends.at(row)?.saturating_mul(ELEMENT_BYTES)))
        }
        (Growth::Counts, [start, end, step @ ..]) => {
            let (starts, ends) = (start.moments(), end.moments());
            let steps = step.first().map(Argument::steps).transpose()?;
            sum(&|row| {
                let way = ends.signed(row)?.abs_diff(starts.signed(row)?);
                let step = match &steps {
                    Some(steps) => steps.signed(row)?.unsigned_abs(),
                    None => 1,
                };
                Some((way / step.max(1)).saturating_mul(ELEMENT_BYTES))
            })
        }
        (Growth::Replaces, [text, from, to, ..]) => {
            let (texts, from, to) = (text.texts()?, from.texts()?, to.texts()?);
            let places = |row| Some(texts.at(row)?.matches(from.at(row)?).count());
            replaced(rows, &texts, &to, &places)
        }
        (Growth::Rewrites, [text, pattern, to, flags @ ..]) => {
            let (texts, patterns, to) = (text.texts()?, pattern.texts()?, to.texts()?);
            let flags = flags.first().map(Argument::texts).transpose()?;
            let is_everywhere = |row| {
                let flags = flags.as_ref().and_then(|flags| flags.at(row));
                flags.is_some_and(|flags| flags.contains('g'))
            };
            // Read once, and only where places are counted.
            let pattern = LazyCell::new(|| {
                let pattern = patterns.is_scalar.then(|| patterns.at(0)).flatten();
                pattern.and_then(|pattern| Regex::new(pattern).ok())
            });
            let places = |row| {
                let text = texts.at(row)?;
                if !is_everywhere(row) {
                    return Some(1);
                }
                Some(match &*pattern {
                    Some(pattern) => pattern.find_iter(text).count(),
                    None => text.len() + 1,
                })
            };
            replaced(rows, &texts, &to, &places)
        }
        _ => 0,
    })
}

fn added(arguments: &[Argument], rows: usize) -> Result<u64> {
    let mut all = 0_u64;
    for argument in arguments {
        all = all.saturating_add(argument.bytes(rows)?);
    }
    Ok(all)
}

/// Bytes of texts of which some places, which are counted when they have to be, become other ones. A reference to what
/// was found there adds at most the whole text again.
fn replaced(
    rows: usize,
    texts: &Texts,
    to: &Texts,
    places: &dyn Fn(usize) -> Option<usize>,
) -> u64 {
    let sum = |places: &dyn Fn(usize) -> Option<usize>| {
        let sizes = (0..rows).filter_map(|row| {
            let (text, to) = (texts.at(row)?, to.at(row)?);
            let references = to
                .bytes()
                .filter(|byte| matches!(byte, b'\\' | b'$'))
                .count() as u64;
            let kept = (text.len() as u64).saturating_mul(1 + references);
            Some(
                (places(row)? as u64)
                    .saturating_mul(to.len() as u64)
                    .saturating_add(kept),
            )
        });
        sizes.fold(0_u64, u64::saturating_add)
    };
    match sum(&|row| Some(texts.at(row)?.len() + 1)) {
        most if most <= MOST_BYTES => most,
        _ => sum(places),
    }
}

/// The values of one argument; a scalar is the same for every row.
struct Argument {
    array: ArrayRef,
    is_scalar: bool,
}

impl Argument {
    fn of(value: &ColumnarValue) -> Result<Self> {
        Ok(match value {
            ColumnarValue::Scalar(scalar) => Self {
                array: scalar.to_array()?,
                is_scalar: true,
            },
            ColumnarValue::Array(array) => Self {
                array: array.clone(),
                is_scalar: false,
            },
        })
    }

    fn numbers(&self) -> Numbers {
        let numbers = cast(&self.array, &DataType::Int64).ok();
        Numbers {
            values: numbers.map(|numbers| numbers.as_primitive::<Int64Type>().clone()),
            is_scalar: self.is_scalar,
        }
    }

    /// Whole numbers as they are; days and times in microseconds.
    fn moments(&self) -> Numbers {
        if self.array.data_type().is_integer() {
            return self.numbers();
        }
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let array = cast(&self.array, &micros).unwrap_or_else(|_| self.array.clone());
        let is_scalar = self.is_scalar;
        Self { array, is_scalar }.numbers()
    }

    /// The same of steps; a month is the shortest one.
    ///
    /// # Errors
    /// For a step that goes two ways, as a month less thirty days: it may go nowhere.
    fn steps(&self) -> Result<Numbers> {
        let intervals = self.array.as_primitive_opt::<IntervalMonthDayNanoType>();
        let Some(intervals) = intervals else {
            return Ok(self.numbers());
        };
        let is_mixed = |step: IntervalMonthDayNano| {
            let signs = [
                step.months.signum(),
                step.days.signum(),
                step.nanoseconds.signum() as i32,
            ];
            signs.contains(&1) && signs.contains(&-1)
        };
        if intervals.iter().flatten().any(is_mixed) {
            return exec_err!("a step goes one way: its months, days and seconds have one sign");
        }
        let micros = intervals.unary::<_, Int64Type>(|step| {
            let days = i64::from(step.months) * 28 + i64::from(step.days);
            days.saturating_mul(86_400_000_000)
                .saturating_add(step.nanoseconds / 1000)
        });
        Ok(Numbers {
            values: Some(micros),
            is_scalar: self.is_scalar,
        })
    }

    /// Elements of each list.
    fn lengths(&self) -> Numbers {
        let lengths = length(&self.array).and_then(|lengths| cast(&lengths, &DataType::Int64));
        Numbers {
            values: lengths
                .ok()
                .map(|lengths| lengths.as_primitive::<Int64Type>().clone()),
            is_scalar: self.is_scalar,
        }
    }

    fn texts(&self) -> Result<Texts> {
        let texts = cast(&self.array, &DataType::Utf8View)?;
        Ok(Texts {
            values: texts.as_string_view().clone(),
            is_scalar: self.is_scalar,
        })
    }

    /// Bytes of all values.
    fn bytes(&self, rows: usize) -> Result<u64> {
        let is_view = matches!(self.array.data_type(), DataType::Utf8View);
        if !self.is_scalar && !is_view {
            return Ok(self.array.to_data().get_slice_memory_size()? as u64);
        }
        let sizes = self.sizes()?;
        let bytes = (0..rows).filter_map(|row| sizes.at(row));
        Ok(bytes.fold(0_u64, u64::saturating_add))
    }

    /// Bytes of each value: those of a text, of others the average.
    fn sizes(&self) -> Result<Numbers> {
        let is_text = self.array.data_type().is_string();
        let sizes = match is_text {
            true => {
                let texts = self.texts()?.values;
                let lengths = texts.iter().map(|text| Some(text?.len() as i64));
                lengths.collect()
            }
            false => {
                let bytes = self.array.to_data().get_slice_memory_size()?;
                let average = bytes.div_ceil(self.array.len().max(1)) as i64;
                Int64Array::from_value(average, self.array.len())
            }
        };
        Ok(Numbers {
            values: Some(sizes),
            is_scalar: self.is_scalar,
        })
    }
}

/// None where the argument is no number.
struct Numbers {
    values: Option<Int64Array>,
    is_scalar: bool,
}

impl Numbers {
    fn signed(&self, row: usize) -> Option<i64> {
        let values = self.values.as_ref()?;
        let row = if self.is_scalar { 0 } else { row };
        values.is_valid(row).then(|| values.value(row))
    }

    fn at(&self, row: usize) -> Option<u64> {
        self.signed(row)
            .map(|number| u64::try_from(number).unwrap_or(0))
    }
}

struct Texts {
    values: StringViewArray,
    is_scalar: bool,
}

impl Texts {
    fn at(&self, row: usize) -> Option<&str> {
        let row = if self.is_scalar { 0 } else { row };
        let values = &self.values;
        values.is_valid(row).then(|| values.value(row))
    }
}
