use std::time::Duration;

use sqlparser::ast::Expr;
use sqlparser::tokenizer::{Location, Span, Token};

use crate::cursor::Cursor;
use crate::diagnostic::{Diagnostic, Source};
use crate::expect::{self, Expect, OnViolation};
use crate::piece::Piece;
use crate::suggest::suggest;

const DIRECTIVES: [&str; 6] = ["key", "cdc", "trigger", "refresh", "fresh", "expect"];

/// What the lines above a file's SELECT say about its table.
#[derive(Debug, Clone, Default)]
pub struct Directives {
    pub key: Vec<Column>,
    pub cdc: Option<Cdc>,
    pub trigger: Trigger,
    pub refresh: RefreshPolicy,
    pub fresh: Option<MaxAge>,
    pub expects: Vec<Expect>,
}

/// A column named in a directive.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub span: Span,
}

/// The table is the current row of each key, folded from change events.
#[derive(Debug, Clone)]
pub struct Cdc {
    /// Columns of the input, most significant first; the greatest is the last word on a key.
    pub sequence: Vec<Column>,
    /// Condition on the input's columns under which an event deletes its key.
    pub delete_when: Option<Expr>,
    pub span: Span,
}

/// The table is recomputed when an input changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trigger {
    pub at_most_every: Option<Duration>,
}

/// How the table may be recomputed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RefreshPolicy {
    /// Incrementally where that is possible and pays.
    #[default]
    Auto,
    /// Incrementally, falling back to full with a warning.
    Incremental,
    /// Incrementally, or not at all.
    Strict,
    Full,
}

/// How old the table may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxAge {
    pub within: Duration,
    pub on_violation: OnViolation,
}

/// The text of a `-- @...` line, from the `@` on.
pub fn parse(source: Source<'_>, lines: &[Piece<'_>]) -> (Directives, Vec<Diagnostic>) {
    let mut reader = Reader {
        source,
        directives: Directives::default(),
        seen: Vec::new(),
        problems: Vec::new(),
    };
    for line in lines {
        if let Err(problem) = reader.read(*line) {
            reader.problems.push(problem);
        }
    }
    (reader.directives, reader.problems)
}

/// Which of the directives a tag such as `@key` names.
pub fn known(
    source: Source<'_>,
    tag: Piece<'_>,
    what: &str,
    directives: &[&'static str],
) -> Result<&'static str, Diagnostic> {
    let word = tag.text.trim_start_matches('@');
    let known = directives.iter().copied().find(|known| *known == word);
    known.ok_or_else(|| {
        let choices = directives.iter().copied();
        source
            .at(tag.span(), format!("unknown directive \"{}\"", tag.text))
            .maybe_hint(suggest(word, what, choices))
    })
}

struct Reader<'a> {
    source: Source<'a>,
    directives: Directives,
    seen: Vec<&'static str>,
    problems: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn read(&mut self, line: Piece<'_>) -> Result<(), Diagnostic> {
        let (tag, arguments) = line.take_while(|c| !c.is_whitespace());
        let arguments = arguments.trim();
        let name = known(self.source, tag, "Directives are", &DIRECTIVES)?;
        if name != "expect" {
            if self.seen.contains(&name) {
                return Err(self
                    .source
                    .at(tag.span(), format!("\"@{name}\" stands twice in this file"))
                    .hint("Keep one of the two lines."));
            }
            self.seen.push(name);
        }
        if arguments.is_empty() {
            return Err(self
                .source
                .at(tag.span(), format!("\"@{name}\" says nothing"))
                .hint(format!("Write it as: -- {}", sample(name))));
        }
        let mut cursor = Cursor::new(self.source, arguments, sample(name))?;
        match name {
            "key" => self.directives.key = key(&mut cursor)?,
            "cdc" => self.directives.cdc = Some(cdc(&mut cursor, tag.span())?),
            "trigger" => self.directives.trigger = trigger(&mut cursor)?,
            "refresh" => self.directives.refresh = refresh(&mut cursor)?,
            "fresh" => self.directives.fresh = Some(fresh(&mut cursor)?),
            _ => {
                let expect = expect::parse(&mut cursor)?;
                if self
                    .directives
                    .expects
                    .iter()
                    .any(|other| other.name == expect.name)
                {
                    return Err(self
                        .source
                        .at(
                            expect.span,
                            format!("two expectations are named \"{}\"", expect.name),
                        )
                        .hint("Give each rule of a table a name of its own."));
                }
                self.directives.expects.push(expect);
            }
        }
        cursor.end()
    }
}

fn sample(name: &str) -> &'static str {
    match name {
        "key" => "@key id",
        "cdc" => "@cdc sequence by generation, source_lsn, _offset; delete when op = 'd'",
        "trigger" => "@trigger on change, at most every 1s",
        "refresh" => "@refresh auto",
        "fresh" => "@fresh 60s ON VIOLATION WARN",
        _ => "@expect positive: distance_m >= 0 ON VIOLATION WARN",
    }
}

fn key(cursor: &mut Cursor<'_>) -> Result<Vec<Column>, Diagnostic> {
    cursor.columns()
}

fn cdc(cursor: &mut Cursor<'_>, span: Span) -> Result<Cdc, Diagnostic> {
    cursor.words("sequence by")?;
    let sequence = cursor.columns()?;
    let mut delete_when = None;
    if cursor.accept(&Token::SemiColon) && !cursor.is_at_end() {
        cursor.words("delete when")?;
        delete_when = Some(cursor.expression("condition")?);
    }
    Ok(Cdc {
        sequence,
        delete_when,
        span,
    })
}

fn trigger(cursor: &mut Cursor<'_>) -> Result<Trigger, Diagnostic> {
    cursor.words("on change")?;
    let mut at_most_every = None;
    if cursor.accept(&Token::Comma) {
        cursor.words("at most every")?;
        at_most_every = Some(cursor.duration()?);
    }
    Ok(Trigger { at_most_every })
}

fn refresh(cursor: &mut Cursor<'_>) -> Result<RefreshPolicy, Diagnostic> {
    Ok(
        match cursor.one_of(&["auto", "incremental", "strict", "full"])? {
            "incremental" => RefreshPolicy::Incremental,
            "strict" => RefreshPolicy::Strict,
            "full" => RefreshPolicy::Full,
            _ => RefreshPolicy::Auto,
        },
    )
}

fn fresh(cursor: &mut Cursor<'_>) -> Result<MaxAge, Diagnostic> {
    let within = cursor.duration()?;
    cursor.words("ON VIOLATION")?;
    let on_violation = match cursor.one_of(&["WARN", "FAIL"])? {
        "FAIL" => OnViolation::Fail,
        _ => OnViolation::Warn,
    };
    Ok(MaxAge {
        within,
        on_violation,
    })
}

/// The part of a comment's content that is a directive: `" @key id"` gives `"@key id"`.
pub fn in_comment(content: &str, start: Location) -> Option<Piece<'_>> {
    let piece = Piece::new(content, start).trim();
    let mut characters = piece.text.chars();
    let tagged =
        characters.next() == Some('@') && characters.next().is_some_and(|c| c.is_alphanumeric());
    tagged.then_some(piece)
}
