//! The one place that prints. Results go to standard output, everything else to standard error.

mod bar;
pub(crate) mod junit;
mod rows;

use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use chrono::SecondsFormat;
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use engine::Clock;
use serde::Serialize;
use serde_json::json;

use crate::config::LogFormat;

pub(crate) use bar::bar;
pub(crate) use rows::{batch, json_rows, rows};

/// How a command prints data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Csv,
}

/// How a command prints what is no table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Document {
    Text,
    Json,
}

/// Standard output. What is wrong with it is told from what is wrong with anything else.
struct Stdout(io::StdoutLock<'static>);

/// Standard output that cannot be written, within an `io::Error` of the same kind.
#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be written: {0}")]
pub(crate) struct Unwritten(io::Error);

impl Stdout {
    fn lock() -> Self {
        Self(io::stdout().lock())
    }
}

fn unwritten(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::Interrupted => error,
        kind => io::Error::new(kind, Unwritten(error)),
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(unwritten)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(unwritten)
    }
}

/// Standard output, buffered. A closed pipe is an error that ends the command without a word.
fn stdout() -> BufWriter<Stdout> {
    BufWriter::with_capacity(64 << 10, Stdout::lock())
}

pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = Stdout::lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// What is no text, such as a part of a file.
pub(crate) fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut out = Stdout::lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Whether standard output is read by a person.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = stdout();
    serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// A table that fits in memory: what a command says about itself, not a query's result.
pub(crate) fn table(columns: &[&str], rows: &[Vec<String>], format: Format) -> anyhow::Result<()> {
    let mut out = stdout();
    match format {
        Format::Table => {
            let mut table = empty_table(columns.iter().map(|name| (*name, CellAlignment::Left)));
            for row in rows {
                table.add_row(row);
            }
            writeln!(out, "{table}")?;
        }
        Format::Json => {
            let rows: Vec<serde_json::Map<_, _>> = rows
                .iter()
                .map(|row| {
                    let names = columns.iter().map(|name| (*name).to_owned());
                    names.zip(row.iter().cloned().map(Into::into)).collect()
                })
                .collect();
            serde_json::to_writer_pretty(&mut out, &rows).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        Format::Csv => {
            writeln!(out, "{}", columns.join(","))?;
            for row in rows {
                let cells: Vec<String> = row.iter().map(|cell| csv_cell(cell)).collect();
                writeln!(out, "{}", cells.join(","))?;
            }
        }
    }
    Ok(out.flush()?)
}

/// One row of CSV.
pub(crate) fn csv_line(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| csv_cell(cell)).collect();
    cells.join(",")
}

fn empty_table<'a>(columns: impl Iterator<Item = (&'a str, CellAlignment)>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    let (names, alignments): (Vec<_>, Vec<_>) = columns.unzip();
    table.set_header(names);
    for (column, alignment) in table.column_iter_mut().zip(alignments) {
        column.set_cell_alignment(alignment);
    }
    table
}

fn csv_cell(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Gives the time of each line, where standard error is for machines: one JSON object a line, as the log's are.
static CLOCK: OnceLock<Clock> = OnceLock::new();

/// Decides, once, how standard error is written.
pub(crate) fn speak(format: LogFormat, clock: Clock) {
    if format == LogFormat::Json {
        // A second call changes nothing.
        let _ = CLOCK.set(clock);
    }
}

/// An error on standard error, below an unfinished progress line if there is one.
pub(crate) fn failure(text: &str) {
    say("ERROR", text);
}

/// A line for whoever watches, on standard error.
pub(crate) fn note(text: &str) {
    say("INFO", text);
}

fn say(level: &str, text: &str) {
    end_progress();
    let line = match CLOCK.get() {
        None => text.to_owned(),
        Some(clock) => {
            let time = clock().to_rfc3339_opts(SecondsFormat::Micros, true);
            let fields = json!({"message": text});
            json!({"timestamp": time, "level": level, "fields": fields, "target": "sportlake"})
                .to_string()
        }
    };
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Whether a progress line stands unfinished on the terminal.
static PROGRESS: AtomicBool = AtomicBool::new(false);

/// When the last plain line of progress was written.
static SAID: Mutex<Option<Instant>> = Mutex::new(None);

/// Plain lines of progress go to files and journals: not more than one in this time.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// How far a command is: one line that is rewritten on a terminal, a plain line now and then elsewhere.
pub(crate) fn progress(text: &str) {
    let mut err = io::stderr().lock();
    if err.is_terminal() && CLOCK.get().is_none() {
        PROGRESS.store(true, Ordering::Relaxed);
        let _ = write!(err, "\r\x1b[K{text}").and_then(|()| err.flush());
        return;
    }
    drop(err);
    if due() {
        note(text);
    }
}

fn due() -> bool {
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    let due = said.is_none_or(|last| last.elapsed() >= PLAIN_EVERY);
    if due {
        *said = Some(Instant::now());
    }
    due
}

/// Leaves the last progress line standing.
pub(crate) fn end_progress() {
    if PROGRESS.swap(false, Ordering::Relaxed) {
        let _ = writeln!(io::stderr().lock());
    }
}
