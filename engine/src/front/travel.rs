//! Tables of other moments: `VERSION AS OF 3`, `TIMESTAMP AS OF '2026-11-01'`, `EPOCH AS OF 12`, with or without `FOR`.

use std::fmt;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use sqlparser::ast::{Ident, TableAlias, TableFactor};
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::escapes::{is, is_name};
use crate::error::{Error, Result};

/// Stands between the name of a table and the moment; no table's name has one.
const MARK: char = '@';

/// A moment of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// A version of its Delta table.
    Version(u64),
    /// As the newest epoch at that time has it.
    Timestamp(DateTime<Utc>),
    Epoch(u64),
}

/// A table of another moment, as a statement names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Travel {
    /// The parts of the table's name, in the case that they stand for.
    pub(crate) table: Vec<String>,
    /// The last part of the name that the statement has instead.
    pub(crate) alias: String,
    pub(crate) at: At,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "version {version}"),
            Self::Timestamp(time) => write!(f, "{}", time.to_rfc3339()),
            Self::Epoch(epoch) => write!(f, "epoch {epoch}"),
        }
    }
}

/// Reads a moment at `word`, when one stands there after a table's name: gives that table a name of its own in `out`,
/// and tells how many words after `word` were used.
pub(super) fn read(
    word: &Word,
    after: &[TokenWithSpan],
    out: &mut Vec<TokenWithSpan>,
    travels: &mut Vec<Travel>,
) -> Result<Option<usize>> {
    let kinds = ["VERSION", "TIMESTAMP", "EPOCH"];
    let Some(kind) = kinds
        .into_iter()
        .find(|kind| word.value.eq_ignore_ascii_case(kind))
    else {
        return Ok(None);
    };
    let [as_word, of_word, values @ ..] = after else {
        return Ok(None);
    };
    if !is(&as_word.token, "AS") || !is(&of_word.token, "OF") {
        return Ok(None);
    }
    let Some((value, used)) = literal(values) else {
        return Ok(None);
    };
    let of_name = match out.as_slice() {
        [.., name, last] if is(&last.token, "FOR") => is_name(&name.token),
        [.., last] => is_name(&last.token),
        [] => false,
    };
    if !of_name {
        return Ok(None);
    }
    if out.last().is_some_and(|last| is(&last.token, "FOR")) {
        out.pop();
    }
    let at = moment(kind, value)?;
    let table = parts(out);
    let Some(name) = out.last_mut() else {
        return Ok(None);
    };
    let alias = format!(
        "{}{MARK}{at}",
        table.last().map(String::as_str).unwrap_or_default()
    );
    name.token = Token::make_word(&alias, Some('"'));
    travels.push(Travel { table, alias, at });
    Ok(Some(2 + used))
}

/// A moment is a number or a text, the latter perhaps with its type before it.
fn literal(tokens: &[TokenWithSpan]) -> Option<(&str, usize)> {
    let first = &tokens.first()?.token;
    match first {
        Token::Number(text, _) | Token::SingleQuotedString(text) => Some((text, 1)),
        _ if is(first, "TIMESTAMP") || is(first, "DATE") => match &tokens.get(1)?.token {
            Token::SingleQuotedString(text) => Some((text, 2)),
            _ => None,
        },
        _ => None,
    }
}

fn moment(kind: &str, text: &str) -> Result<At> {
    let number = || {
        text.parse().map_err(|_| {
            Error::invalid(format!("{kind} AS OF \"{text}\" is not a number"))
                .hint(format!("Write it as {kind} AS OF 12."))
        })
    };
    match kind {
        "VERSION" => number().map(At::Version),
        "EPOCH" => number().map(At::Epoch),
        _ => time(text).map(At::Timestamp).ok_or_else(|| {
            Error::invalid(format!("TIMESTAMP AS OF \"{text}\" is not a time"))
                .hint("Write it as TIMESTAMP AS OF '2026-11-01 08:30:00' (UTC) or '2026-11-01'.")
        }),
    }
}

/// Times without a zone are UTC, as tables hold them.
fn time(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    for format in [
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M",
    ] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Some(time.and_utc());
        }
    }
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(date.and_hms_opt(0, 0, 0)?.and_utc())
}

/// The parts of the name that the words end with.
fn parts(words: &[TokenWithSpan]) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = words;
    while let Some((
        TokenWithSpan {
            token: Token::Word(word),
            ..
        },
        before,
    )) = rest.split_last()
    {
        parts.push(match word.quote_style {
            Some(_) => word.value.clone(),
            None => word.value.to_lowercase(),
        });
        match before.split_last() {
            Some((dot, before)) if dot.token == Token::Period => rest = before,
            _ => break,
        }
    }
    parts.reverse();
    parts
}

/// Lets columns be qualified with the name that the statement wrote.
pub(super) fn keep_name(table: &mut TableFactor) {
    let TableFactor::Table { name, alias, .. } = table else {
        return;
    };
    if alias.is_some() {
        return;
    }
    let last = name.0.last().and_then(|part| part.as_ident());
    if let Some(ident) = last
        && let Some((bare, _)) = ident.value.split_once(MARK)
    {
        *alias = Some(TableAlias {
            explicit: true,
            name: Ident::with_quote('"', bare),
            columns: Vec::new(),
            at: None,
        });
    }
}
