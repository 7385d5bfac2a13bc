use std::collections::BTreeMap;
use std::io::Cursor;

use calamine::{Data, DataRef, Reader, SheetType, SheetVisible, Xlsx};
use changes::{Error, Result};

use super::container::{check, refused};
use super::workbook::WorkbookFile;
use crate::spelling::plain;

const MAX_ROWS: usize = 100_000;
const MAX_COLUMNS: u32 = 256;

/// The first sheet of a workbook: its header row and the rows below that are not blank.
pub(super) struct Sheet {
    file: String,
    name: String,
    columns: BTreeMap<String, Column>,
    rows: Vec<SheetRow>,
}

struct Column {
    index: u32,
    header: String,
}

/// One row, by column index.
pub(super) struct SheetRow {
    /// As Excel counts, from 1.
    pub(super) number: u32,
    cells: BTreeMap<u32, Data>,
}

impl Sheet {
    pub(super) fn read(file: &WorkbookFile) -> Result<Self> {
        check(file)?;
        let unreadable = |error: calamine::XlsxError| {
            refused(
                file,
                "cannot be read",
                "Open it in Excel and save it again.",
            )
            .caused_by(error)
        };
        let mut workbook: Xlsx<_> = Xlsx::new(Cursor::new(file.bytes())).map_err(&unreadable)?;
        let sheets = workbook.sheets_metadata();
        let name = sheets
            .iter()
            .find(|sheet| {
                sheet.typ == SheetType::WorkSheet && sheet.visible == SheetVisible::Visible
            })
            .map(|sheet| sheet.name.clone())
            .ok_or_else(|| {
                refused(
                    file,
                    "has no visible sheet",
                    "Put the table on the first sheet.",
                )
            })?;
        let mut cells = workbook
            .worksheet_cells_reader(&name)
            .map_err(&unreadable)?;
        let mut rows: BTreeMap<u32, BTreeMap<u32, Data>> = BTreeMap::new();
        while let Some(cell) = cells.next_cell().map_err(&unreadable)? {
            let (row, column) = cell.get_position();
            let value = owned(cell.get_value());
            if column >= MAX_COLUMNS || is_blank(&value) {
                continue;
            }
            rows.entry(row).or_default().insert(column, value);
            if rows.len() > MAX_ROWS {
                let what = format!("has more than {MAX_ROWS} rows");
                return Err(refused(
                    file,
                    &what,
                    "Split it, or remove what is not HR data.",
                ));
            }
        }
        let mut rows = rows.into_iter();
        let Some((_, headers)) = rows.next() else {
            return Err(refused(
                file,
                "has nothing on its first sheet",
                "Put the table on the first sheet, with its header row on top.",
            ));
        };
        let mut sheet = Self {
            file: file.name().to_owned(),
            name,
            columns: BTreeMap::new(),
            rows: rows
                .map(|(index, cells)| SheetRow {
                    number: index + 1,
                    cells,
                })
                .collect(),
        };
        sheet.take_headers(headers)?;
        Ok(sheet)
    }

    pub(super) fn rows(&self) -> &[SheetRow] {
        &self.rows
    }

    /// The index of the column with that header, however it is spelt.
    pub(super) fn column(&self, header: &'static str) -> Result<u32> {
        if let Some(column) = self.columns.get(&plain(header)) {
            return Ok(column.index);
        }
        let message = format!(
            "workbook \"{}\", sheet \"{}\" has no column \"{header}\"",
            self.file, self.name
        );
        let wanted = plain(header);
        let nearest = self
            .columns
            .iter()
            .map(|(name, column)| (strsim::jaro_winkler(&wanted, name), column))
            .max_by(|(one, _), (other, _)| one.total_cmp(other))
            .filter(|(likeness, _)| *likeness > 0.7);
        Err(Error::invalid(message).hint(match nearest {
            Some((_, column)) => format!(
                "The nearest header is \"{}\": rename it to \"{header}\".",
                column.header
            ),
            None => format!("Add a column with the header \"{header}\"."),
        }))
    }

    /// An error about one cell: its place, never what it holds.
    pub(super) fn wrong(&self, row: &SheetRow, header: &str, fault: &Fault) -> Error {
        Error::invalid(format!(
            "workbook \"{}\", sheet \"{}\", row {}, column \"{header}\": {}",
            self.file, self.name, row.number, fault.what
        ))
        .hint(fault.hint.clone())
    }

    fn take_headers(&mut self, headers: BTreeMap<u32, Data>) -> Result<()> {
        for (index, header) in headers {
            let Data::String(header) = header else {
                continue;
            };
            let header = header.split_whitespace().collect::<Vec<_>>().join(" ");
            let column = Column { index, header };
            if let Some(twice) = self.columns.insert(plain(&column.header), column) {
                let message = format!(
                    "workbook \"{}\", sheet \"{}\" has two columns \"{}\"",
                    self.file, self.name, twice.header
                );
                return Err(Error::invalid(message).hint("Remove or rename one of them."));
            }
        }
        Ok(())
    }
}

impl SheetRow {
    /// The cell, or `Empty` when it is blank.
    pub(super) fn cell(&self, column: u32) -> &Data {
        self.cells.get(&column).unwrap_or(&Data::Empty)
    }
}

/// What is wrong with a cell, without its content.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) what: String,
    pub(super) hint: String,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: hint.into(),
        }
    }
}

fn owned(value: &DataRef<'_>) -> Data {
    Data::from(value.clone())
}

fn is_blank(value: &Data) -> bool {
    match value {
        Data::Empty => true,
        Data::String(text) => text.trim().is_empty(),
        _ => false,
    }
}
