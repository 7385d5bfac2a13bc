//! Two tables side by side: only the rows that differ, with the cells that do.

use std::collections::BTreeMap;
use std::fmt;

use arrow::record_batch::RecordBatch;
use serde::Serialize;

use super::rows::texts;
use crate::error::Result;

/// Rows shown; the others are counted.
const SHOWN: usize = 20;

/// Longer cells are cut where they are printed.
const CELL_WIDTH: usize = 48;

/// Rows without a key are paired by likeness up to this number of them.
const PAIRED: usize = 200;

/// How far two floating point numbers that count as equal may be apart, relative to them.
const TOLERANCE: f64 = 1e-9;

/// What a table holds beside what it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub columns: Vec<String>,
    pub rows: Vec<DifferentRow>,
    /// Differing rows that are not among `rows`.
    pub more: usize,
}

/// A row of one side. One that only differs in some cells comes twice: as expected, then as found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DifferentRow {
    pub kind: RowKind,
    pub cells: Vec<Cell>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RowKind {
    Missing,
    Unexpected,
    Expected,
    Found,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// None for NULL.
    pub text: Option<String>,
    pub differs: bool,
}

/// Compares rows with the same columns, in any order; None when they are the same. Rows are paired by the key where
/// both have it, otherwise by likeness.
pub(super) fn between(
    expected: &RecordBatch,
    found: &RecordBatch,
    key: &[String],
) -> Result<Option<Difference>> {
    let schema = expected.schema();
    let columns: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
    let places: Option<Vec<usize>> = key
        .iter()
        .map(|name| columns.iter().position(|column| column == name))
        .collect();
    let comparison = Comparison {
        floats: schema
            .fields()
            .iter()
            .map(|field| field.data_type().is_floating())
            .collect(),
        key: places.filter(|places| !places.is_empty()),
    };
    let rows = comparison.differing(cells(expected)?, cells(found)?);
    let more = rows.len().saturating_sub(SHOWN);
    Ok((!rows.is_empty()).then(|| Difference {
        columns,
        rows: rows.into_iter().take(SHOWN).flatten().collect(),
        more,
    }))
}

type Row = Vec<Option<String>>;

fn cells(rows: &RecordBatch) -> Result<Vec<Row>> {
    let columns = rows.columns().iter().map(|column| texts(column));
    let columns: Vec<Vec<Option<String>>> = columns.collect::<Result<_>>()?;
    let row = |row: usize| columns.iter().map(|cells| cells[row].clone()).collect();
    Ok((0..rows.num_rows()).map(row).collect())
}

struct Comparison {
    floats: Vec<bool>,
    /// Places of the key's columns.
    key: Option<Vec<usize>>,
}

impl Comparison {
    /// Each difference as one row, or as a pair of them.
    fn differing(&self, expected: Vec<Row>, found: Vec<Row>) -> Vec<Vec<DifferentRow>> {
        let mut rows = Vec::new();
        let (pairs, missing, unexpected) = match &self.key {
            Some(key) => by_key(expected, found, key),
            None => self.by_likeness(expected, found),
        };
        for (expected, found) in pairs {
            let differs = self.differs(&expected, &found);
            if differs.contains(&true) {
                rows.push(vec![
                    row(RowKind::Expected, expected, &differs),
                    row(RowKind::Found, found, &differs),
                ]);
            }
        }
        let missing = missing.into_iter().map(|cells| (RowKind::Missing, cells));
        let unexpected = unexpected
            .into_iter()
            .map(|cells| (RowKind::Unexpected, cells));
        rows.extend(missing.chain(unexpected).map(|(kind, cells)| {
            let none = vec![false; cells.len()];
            vec![row(kind, cells, &none)]
        }));
        rows
    }

    fn differs(&self, expected: &Row, found: &Row) -> Vec<bool> {
        let cells = expected.iter().zip(found).zip(&self.floats);
        cells
            .map(|((expected, found), is_float)| !same(expected, found, *is_float))
            .collect()
    }

    /// Equal rows first, then those that differ in the fewest cells, as long as some agree.
    fn by_likeness(&self, expected: Vec<Row>, found: Vec<Row>) -> Pairing {
        let mut left: BTreeMap<Row, Vec<Row>> = BTreeMap::new();
        for row in found {
            left.entry(self.rounded(&row)).or_default().push(row);
        }
        let mut missing = Vec::new();
        for row in expected {
            let equal = left.get_mut(&self.rounded(&row)).and_then(Vec::pop);
            if equal.is_none() {
                missing.push(row);
            }
        }
        let mut unexpected: Vec<Row> = left.into_values().flatten().collect();
        let mut pairs = Vec::new();
        if missing.len() <= PAIRED && unexpected.len() <= PAIRED {
            missing.retain(|row| {
                let differing = |other: &Row| {
                    let differs = self.differs(row, other);
                    differs.iter().filter(|differs| **differs).count()
                };
                let nearest = (0..unexpected.len()).min_by_key(|at| differing(&unexpected[*at]));
                match nearest.filter(|at| differing(&unexpected[*at]) < row.len().max(1)) {
                    Some(at) => {
                        pairs.push((row.clone(), unexpected.swap_remove(at)));
                        false
                    }
                    None => true,
                }
            });
        }
        (pairs, missing, unexpected)
    }

    /// The row with its floating point numbers to nine digits, by which equal ones are found.
    fn rounded(&self, row: &Row) -> Row {
        let cells = row.iter().zip(&self.floats);
        let cells = cells.map(|(cell, is_float)| {
            let number = cell.as_deref().filter(|_| *is_float)?.parse::<f64>().ok();
            Some(number.map_or_else(|| cell.clone(), |number| Some(format!("{number:.8e}"))))
        });
        row.iter()
            .zip(cells)
            .map(|(cell, rounded)| rounded.unwrap_or_else(|| cell.clone()))
            .collect()
    }
}

/// Rows with a partner, those only expected, those only found.
type Pairing = (Vec<(Row, Row)>, Vec<Row>, Vec<Row>);

fn by_key(expected: Vec<Row>, found: Vec<Row>, key: &[usize]) -> Pairing {
    let key_of = |row: &Row| -> Row { key.iter().map(|at| row[*at].clone()).collect() };
    let mut left: BTreeMap<Row, Vec<Row>> = BTreeMap::new();
    for row in found.into_iter().rev() {
        left.entry(key_of(&row)).or_default().push(row);
    }
    let (mut pairs, mut missing) = (Vec::new(), Vec::new());
    for row in expected {
        match left.get_mut(&key_of(&row)).and_then(Vec::pop) {
            Some(partner) => pairs.push((row, partner)),
            None => missing.push(row),
        }
    }
    (pairs, missing, left.into_values().flatten().collect())
}

fn same(expected: &Option<String>, found: &Option<String>, is_float: bool) -> bool {
    let (Some(left), Some(right)) = (expected, found) else {
        return expected == found;
    };
    if !is_float {
        return left == right;
    }
    match (left.parse::<f64>(), right.parse::<f64>()) {
        (Ok(a), Ok(b)) => a == b || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()),
        _ => left == right,
    }
}

fn row(kind: RowKind, cells: Row, differs: &[bool]) -> DifferentRow {
    let cells = cells.into_iter().zip(differs);
    DifferentRow {
        kind,
        cells: cells
            .map(|(text, differs)| Cell {
                text,
                differs: *differs,
            })
            .collect(),
    }
}

impl RowKind {
    fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unexpected => "unexpected",
            Self::Expected => "expected",
            Self::Found => "found",
        }
    }
}

/// A small aligned table; cells that differ stand in brackets.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<Vec<String>> = Vec::new();
        let header = self.columns.iter().map(|name| format!(" {name} "));
        lines.push(std::iter::once(String::new()).chain(header).collect());
        for row in &self.rows {
            let cells = row.cells.iter().map(shown);
            lines.push(
                std::iter::once(row.kind.word().to_owned())
                    .chain(cells)
                    .collect(),
            );
        }
        let widths: Vec<usize> = (0..=self.columns.len())
            .map(|column| {
                let widths = lines.iter().map(|line| line[column].chars().count());
                widths.max().unwrap_or_default()
            })
            .collect();
        for (number, line) in lines.iter().enumerate() {
            let mut text = String::from("  ");
            for (cell, width) in line.iter().zip(&widths) {
                let padding = " ".repeat(width - cell.chars().count());
                text.push_str(&format!("{cell}{padding} "));
            }
            if number > 0 {
                writeln!(f)?;
            }
            f.write_str(text.trim_end())?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

fn shown(cell: &Cell) -> String {
    let text = cell.text.as_deref().unwrap_or("NULL");
    let one_line = text.replace(['\n', '\r', '\t'], " ");
    let text = match one_line.chars().count() > CELL_WIDTH {
        true => one_line.chars().take(CELL_WIDTH - 1).chain(['…']).collect(),
        false => one_line,
    };
    match cell.differs {
        true => format!("[{text}]"),
        false => format!(" {text} "),
    }
}
