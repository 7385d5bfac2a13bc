use std::fmt;

use serde::{Deserialize, Serialize};
use sqlparser::tokenizer::{Location, Span, TokenWithSpan};

use crate::syntax;

/// Characters that are shown of a line, at most.
const LONGEST_LINE: usize = 160;

/// Of a line that is longer, how many before the mistake.
const SHOWN_BEFORE: usize = 60;

/// Characters of a message, which may quote what it is about.
const LONGEST_MESSAGE: usize = 500;

/// Whether the text is wrong, or right and not built yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiagnosticKind {
    Invalid,
    Unsupported,
}

/// One mistake in a file of the project, at the place where a person mends it.
/// Lines and columns start at 1; columns and lengths count characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    pub kind: DiagnosticKind,
    pub file: String,
    pub line: u32,
    pub column: u32,
    pub length: u32,
    pub message: String,
    pub hint: Option<String>,
    /// The line, or of a very long one the part around the mistake.
    pub source_line: String,
    /// Where the mistake stands in `source_line`.
    pub source_column: u32,
}

impl Diagnostic {
    /// About a file as a whole.
    pub fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self {
            kind: DiagnosticKind::Invalid,
            file: file.to_owned(),
            line: 1,
            column: 1,
            length: 1,
            message: shortened(message.into()),
            hint: None,
            source_line: String::new(),
            source_column: 1,
        }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    #[must_use]
    pub fn unsupported(mut self) -> Self {
        self.kind = DiagnosticKind::Unsupported;
        self
    }
}

/// As rustc shows its own: the place, the line and a caret.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line.to_string();
        let margin = " ".repeat(line.len());
        writeln!(f, "error: {}", printable(&self.message))?;
        write!(f, "{margin}--> {}:{}:{}", self.file, self.line, self.column)?;
        if !self.source_line.is_empty() {
            // Tabs are kept, so that the caret stands right at any tab width.
            let indent: String = self
                .source_line
                .chars()
                .take(self.source_column.saturating_sub(1) as usize)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let shown = self.source_line.chars().skip(indent.chars().count());
            let carets = "^".repeat((self.length as usize).min(shown.count()).max(1));
            let source_line = printable(&self.source_line);
            write!(f, "\n{margin} |\n{line} | {source_line}\n")?;
            write!(f, "{margin} | {indent}{carets}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {}", printable(hint)),
            None => Ok(()),
        }
    }
}

/// Text that moves no cursor of a terminal, whatever a file holds.
fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c,
        _ if c.is_control() => '\u{fffd}',
        _ => c,
    };
    text.chars().map(shown).collect()
}

/// A text that may quote a word of any length.
fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST_MESSAGE) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The line as it is shown and where `column` stands in that.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    if line.chars().nth(LONGEST_LINE).is_none() {
        return (line.to_owned(), column);
    }
    let skipped = (column - 1).saturating_sub(SHOWN_BEFORE);
    let mut rest = line.chars().skip(skipped);
    let mut shown = String::new();
    if skipped > 0 {
        shown.push('…');
    }
    shown.extend(rest.by_ref().take(LONGEST_LINE));
    if rest.next().is_some() {
        shown.push('…');
    }
    (shown, column - skipped + usize::from(skipped > 0))
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A file's text, from which diagnostics take their lines.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    pub path: &'a str,
    pub text: &'a str,
}

impl Source<'_> {
    /// The text's tokens, each with its place.
    pub fn tokens(&self) -> Result<Vec<TokenWithSpan>, Diagnostic> {
        let start = Location::new(1, 1);
        syntax::tokenize(self.text, start).map_err(|error| {
            let location = error.location.unwrap_or(start);
            self.at_location(location, error.message)
        })
    }

    pub fn at(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        // The parser's empty span (line 0) stands for "somewhere in the file".
        let line = span.start.line.max(1) as usize;
        let column = span.start.column.max(1) as usize;
        let source_line = self.text.lines().nth(line - 1).unwrap_or_default();
        let rest = source_line.chars().count().saturating_sub(column - 1);
        let length = if span.end.line == span.start.line {
            span.end.column.saturating_sub(span.start.column) as usize
        } else {
            rest
        };
        let (source_line, source_column) = excerpt(source_line, column);
        Diagnostic {
            line: number(line),
            column: number(column),
            length: number(length.min(rest).max(1)),
            source_line,
            source_column: number(source_column),
            ..Diagnostic::of_file(self.path, message)
        }
    }

    pub fn at_location(&self, location: Location, message: impl Into<String>) -> Diagnostic {
        self.at(Span::new(location, location), message)
    }

    /// At the word that starts at `location`.
    pub fn at_word(&self, location: Location, message: impl Into<String>) -> Diagnostic {
        let line = self
            .text
            .lines()
            .nth((location.line.max(1) - 1) as usize)
            .unwrap_or_default();
        let length = line
            .chars()
            .skip((location.column.max(1) - 1) as usize)
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .count()
            .max(1);
        let end = Location::new(location.line, location.column + length as u64);
        self.at(Span::new(location, end), message)
    }
}
