use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;

use sha2::{Digest, Sha256};
use sqlparser::ast::{
    Expr, Query, SetExpr, Spanned, Statement, Value, ValueWithSpan, Visit, Visitor,
    visit_expressions,
};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Whitespace};

use crate::column_notes;
use crate::depth;
use crate::diagnostic::{Diagnostic, Source};
use crate::directive::{self, Directives};
use crate::expect::OnViolation;
use crate::piece::Piece;
use crate::syntax;
use crate::table_name::TableName;

/// Functions that read the source's time zone.
pub const ZONED: [&str; 2] = ["local_date", "local_timestamp"];

/// Counts the physical layouts of `@cdc` tables: tables of an older one are built anew.
const FOLD_LAYOUT: u32 = 2;

/// One file of the project: a table, the SELECT that makes it and what is asked of it.
#[derive(Debug, Clone)]
pub struct SqlFile {
    pub name: TableName,
    /// Relative to the project's folder, such as `gold/eligibilites.sql`.
    pub path: String,
    pub text: String,
    pub description: Option<String>,
    /// Descriptions of columns, by name: the comments at the ends of their lines.
    pub column_notes: BTreeMap<String, String>,
    pub directives: Directives,
    /// Its spans are places in `text`.
    pub query: Box<Query>,
    /// The SELECT as written.
    pub sql: String,
    /// The path a person sees.
    shown_path: String,
    /// The source's time zone, where the query reads it.
    zone: Option<String>,
}

impl SqlFile {
    /// Reads one file; everything wrong with it is reported, not the first mistake only.
    pub fn parse(
        name: TableName,
        path: &str,
        shown_path: &str,
        text: &str,
    ) -> Result<Self, Vec<Diagnostic>> {
        let source = Source {
            path: shown_path,
            text,
        };
        let tokens = source.tokens().map_err(|problem| vec![problem])?;
        let words = tokens
            .iter()
            .filter(|token| !matches!(token.token, Token::Whitespace(_)));
        if words.count() > depth::MAX_TOKENS {
            let message = format!("the file has more than {} words", depth::MAX_TOKENS);
            return Err(vec![Diagnostic::of_file(shown_path, message)]);
        }
        let header = Header::read(&tokens);
        let (directives, mut problems) = directive::parse(source, &header.directives(&tokens));
        problems.extend(header.misplaced(source, &tokens));
        problems.extend(missing_key(source, &name, &directives));
        match query(source, &tokens) {
            Ok(query) if problems.is_empty() => Ok(Self {
                sql: statement_text(text, &tokens),
                description: header.description,
                column_notes: column_notes::read(&query, &tokens),
                name,
                path: path.to_owned(),
                text: text.to_owned(),
                directives,
                query,
                shown_path: shown_path.to_owned(),
                zone: None,
            }),
            Ok(_) => Err(problems),
            Err(problem) => {
                problems.push(problem);
                Err(problems)
            }
        }
    }

    pub fn source(&self) -> Source<'_> {
        Source {
            path: &self.shown_path,
            text: &self.text,
        }
    }

    /// The query for the engine's planner, keeping its places in the file.
    pub fn statement(&self) -> Statement {
        Statement::Query(self.query.clone())
    }

    /// Whether rows that are no rows of the table are kept aside: by a rule, or where events cannot be evaluated.
    pub fn has_quarantine(&self) -> bool {
        let mut expects = self.directives.expects.iter();
        self.directives.cdc.is_some()
            || expects.any(|expect| expect.on_violation == OnViolation::Quarantine)
    }

    /// Takes note of the source's time zone where the query reads it, so that another zone counts as another query.
    pub fn learn_zone(&mut self, zone: &str) {
        let reads_it = visit_expressions(&*self.query, |expr| match expr {
            Expr::Function(function) => {
                let name = function.name.to_string().to_lowercase();
                match ZONED.contains(&name.as_str()) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            }
            _ => ControlFlow::Continue(()),
        });
        self.zone = reads_it.is_break().then(|| zone.to_owned());
    }

    /// Changes when the rows could: the query, the key, the fold or the time zone it reads. Comments and whitespace do
    /// not count.
    pub fn query_fingerprint(&self) -> String {
        let mut text = format!("query {}\n", self.query);
        for column in &self.directives.key {
            let _ = writeln!(text, "key {}", column.name);
        }
        if let Some(cdc) = &self.directives.cdc {
            let _ = writeln!(text, "layout {FOLD_LAYOUT}");
            for column in &cdc.sequence {
                let _ = writeln!(text, "sequence {}", column.name);
            }
            if let Some(condition) = &cdc.delete_when {
                let _ = writeln!(text, "delete when {condition}");
            }
        }
        if let Some(zone) = &self.zone {
            let _ = writeln!(text, "zone {zone}");
        }
        sha256(&text)
    }

    /// Changes when what is asked of the same rows does: rules, trigger, refresh, freshness.
    pub fn policy_fingerprint(&self) -> String {
        let directives = &self.directives;
        let mut text = format!(
            "{:?}\n{:?}\n{:?}\n",
            directives.trigger, directives.refresh, directives.fresh
        );
        for expect in &directives.expects {
            let _ = writeln!(
                text,
                "{}: {} {} {:?}",
                expect.name, expect.rule, expect.on_violation, expect.fail_over_percent
            );
        }
        sha256(&text)
    }
}

pub fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// The comment lines above the SELECT.
struct Header {
    /// Index of the SELECT's first token.
    statement: usize,
    description: Option<String>,
}

impl Header {
    fn read(tokens: &[TokenWithSpan]) -> Self {
        let statement = tokens
            .iter()
            .position(|token| !matches!(token.token, Token::Whitespace(_)))
            .unwrap_or(tokens.len());
        let lines: Vec<&str> = line_comments(&tokens[..statement])
            .filter(|(content, start)| directive::in_comment(content, *start).is_none())
            .map(|(content, _)| content.trim())
            .collect();
        let description = lines.join("\n").trim().to_owned();
        Self {
            statement,
            description: (!description.is_empty()).then_some(description),
        }
    }

    fn directives<'a>(&self, tokens: &'a [TokenWithSpan]) -> Vec<Piece<'a>> {
        line_comments(&tokens[..self.statement])
            .filter_map(|(content, start)| directive::in_comment(content, start))
            .collect()
    }

    /// Directives below the SELECT's first word would be overlooked by a reader, so they are refused.
    fn misplaced(&self, source: Source<'_>, tokens: &[TokenWithSpan]) -> Vec<Diagnostic> {
        line_comments(&tokens[self.statement..])
            .filter_map(|(content, start)| directive::in_comment(content, start))
            .map(|piece| {
                source
                    .at(piece.span(), "a directive stands above the SELECT")
                    .hint("Move the line up, or write the comment without \"@\".")
            })
            .collect()
    }
}

/// The content of each `--` comment and where it starts.
fn line_comments(tokens: &[TokenWithSpan]) -> impl Iterator<Item = (&str, Location)> {
    tokens.iter().filter_map(|token| match &token.token {
        Token::Whitespace(Whitespace::SingleLineComment { comment, prefix }) => {
            let start = token.span.start;
            let behind_prefix =
                Location::new(start.line, start.column + prefix.chars().count() as u64);
            Some((comment.as_str(), behind_prefix))
        }
        _ => None,
    })
}

fn missing_key(
    source: Source<'_>,
    name: &TableName,
    directives: &Directives,
) -> Option<Diagnostic> {
    let cdc = directives.cdc.as_ref()?;
    directives.key.is_empty().then(|| {
        source
            .at(
                cdc.span,
                format!("{name} folds change events, but has no key"),
            )
            .hint("Add a line such as: -- @key id")
    })
}

/// The file's one query.
pub fn query(source: Source<'_>, tokens: &[TokenWithSpan]) -> Result<Box<Query>, Diagnostic> {
    let hint = "A file holds one SELECT, with or without WITH.";
    let mut words = tokens
        .iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_)));
    let Some(first) = words.clone().find(|token| token.token != Token::SemiColon) else {
        return Err(source
            .at_location(Location::new(1, 1), "the file has no SELECT")
            .hint(hint));
    };
    let mut behind_semicolon = words
        .by_ref()
        .skip_while(|token| token.token != Token::SemiColon);
    if let Some(second) = behind_semicolon.find(|token| token.token != Token::SemiColon) {
        return Err(source
            .at(second.span, "the file has a second statement")
            .hint(hint));
    }
    let statements = syntax::parser(tokens.to_vec())
        .parse_statements()
        .map_err(|error| {
            let error = syntax::SyntaxError::from(error);
            let location = error.location.unwrap_or_else(|| end_of(tokens));
            source.at_word(location, error.message)
        })?;
    match statements.into_iter().next() {
        Some(Statement::Query(query)) if depth::is_too_deep(&query, depth::FILE_DEPTH) => {
            Err(source
                .at(first.span, "the query is nested too deeply")
                .hint("Put parts of it into WITH tables or files of their own."))
        }
        Some(Statement::Query(query)) => match forbidden(&query) {
            None => Ok(query),
            Some((message, span)) => Err(source.at(known(span, first.span), message).hint(hint)),
        },
        _ => Err(source
            .at(first.span, "the statement is no SELECT")
            .hint(hint)),
    }
}

fn known(span: Span, otherwise: Span) -> Span {
    if span == Span::empty() {
        otherwise
    } else {
        span
    }
}

fn end_of(tokens: &[TokenWithSpan]) -> Location {
    tokens
        .iter()
        .rev()
        .find(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF))
        .map_or(Location::new(1, 1), |token| token.span.end)
}

/// What a query could hold that is more, or less, than a plain SELECT.
fn forbidden(query: &Query) -> Option<(&'static str, Span)> {
    struct Finder;
    impl Visitor for Finder {
        type Break = (&'static str, Span);

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
            if !query.locks.is_empty() {
                return ControlFlow::Break(("a table's query locks no rows", query.span()));
            }
            match writes(&query.body) {
                Some(span) => ControlFlow::Break(("a table's query changes no data", span)),
                None => ControlFlow::Continue(()),
            }
        }

        fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<Self::Break> {
            match value.value {
                Value::Placeholder(_) => {
                    ControlFlow::Break(("a table's query takes no parameters", value.span))
                }
                _ => ControlFlow::Continue(()),
            }
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
            match expr {
                Expr::Value(value) => self.pre_visit_value(value),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    match query.visit(&mut Finder) {
        ControlFlow::Break(found) => Some(found),
        ControlFlow::Continue(()) => None,
    }
}

fn writes(body: &SetExpr) -> Option<Span> {
    match body {
        SetExpr::Select(select) => select.into.is_some().then(|| select.span()),
        SetExpr::Query(query) => writes(&query.body),
        SetExpr::SetOperation { left, right, .. } => writes(left).or_else(|| writes(right)),
        SetExpr::Values(_) | SetExpr::Table(_) => None,
        SetExpr::Insert(statement)
        | SetExpr::Update(statement)
        | SetExpr::Delete(statement)
        | SetExpr::Merge(statement) => Some(statement.span()),
    }
}

/// The text from the SELECT's first word to its last.
fn statement_text(text: &str, tokens: &[TokenWithSpan]) -> String {
    let mut words = tokens.iter().filter(|token| {
        !matches!(
            token.token,
            Token::Whitespace(_) | Token::SemiColon | Token::EOF
        )
    });
    let Some(first) = words.next() else {
        return String::new();
    };
    let last = words.next_back().unwrap_or(first);
    let from = byte_at(text, first.span.start);
    let to = byte_at(text, last.span.end);
    text.get(from..to).unwrap_or_default().to_owned()
}

fn byte_at(text: &str, location: Location) -> usize {
    let line = (location.line.max(1) - 1) as usize;
    let mut start = 0;
    for _ in 0..line {
        match text[start..].find('\n') {
            Some(newline) => start += newline + 1,
            None => return text.len(),
        }
    }
    let column = (location.column.max(1) - 1) as usize;
    text[start..]
        .char_indices()
        .nth(column)
        .map_or(text.len(), |(offset, _)| start + offset)
}
