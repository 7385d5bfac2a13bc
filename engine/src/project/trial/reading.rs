use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use sql_files::cursor::Cursor;
use sql_files::{
    DEFAULT_SCHEMA, Diagnostic, Piece, Source, TableName, depth, directive, file, graph,
};
use sqlparser::ast::Query;
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Whitespace};

use super::{Action, Case, Moment, Outcome, Rows, RuleName, Step, Trial};

const DIRECTIVES: [&str; 5] = ["case", "now", "given", "change", "expected"];

const ROWS_HINT: &str = "Write rows as: SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS t (id, name);";

impl Trial {
    /// Reads one file; everything wrong with it is reported.
    pub(super) fn parse(
        table: TableName,
        shown_path: &str,
        text: &str,
    ) -> Result<Self, Vec<Diagnostic>> {
        let source = Source {
            path: shown_path,
            text,
        };
        let tokens = source.tokens().map_err(|problem| vec![problem])?;
        let mut reader = Reader {
            source,
            shared: Vec::new(),
            cases: Vec::new(),
            head: None,
            statement: Vec::new(),
            problems: Vec::new(),
        };
        for token in tokens {
            reader.token(token);
        }
        reader.end_statement();
        reader.end_head();
        let cases = reader.cases();
        if !reader.problems.is_empty() {
            return Err(reader.problems);
        }
        Ok(Self {
            table,
            shown_path: shown_path.to_owned(),
            text: text.to_owned(),
            cases,
        })
    }
}

struct Reader<'a> {
    source: Source<'a>,
    /// Steps above the first case, which every case begins with.
    shared: Vec<Step>,
    cases: Vec<Case>,
    /// A directive that waits for its SELECT.
    head: Option<(Span, Head)>,
    statement: Vec<TokenWithSpan>,
    problems: Vec<Diagnostic>,
}

enum Head {
    Given(TableName, Span),
    Change(TableName, Span),
    Delete(TableName, Span),
    Rows,
    Quarantine,
    /// Its directive is wrong, so the SELECT below it is passed over.
    Broken,
}

impl Reader<'_> {
    fn token(&mut self, token: TokenWithSpan) {
        match &token.token {
            Token::Whitespace(Whitespace::SingleLineComment { comment, prefix }) => {
                let start = token.span.start;
                let column = start.column + prefix.chars().count() as u64;
                let start = Location::new(start.line, column);
                if let Some(line) = directive::in_comment(comment, start) {
                    self.line(line);
                }
            }
            Token::Whitespace(_) | Token::EOF => {}
            Token::SemiColon => self.end_statement(),
            _ => {
                if self.statement.is_empty() && self.head.is_none() {
                    let problem = self
                        .source
                        .at(token.span, "a SELECT stands below no directive")
                        .hint("Put a line such as `-- @given silver.employees` or `-- @expected` above it.");
                    self.problems.push(problem);
                    self.head = Some((token.span, Head::Broken));
                }
                self.statement.push(token);
            }
        }
    }

    fn line(&mut self, line: Piece<'_>) {
        if !self.statement.is_empty() {
            let problem = self
                .source
                .at(line.span(), "a directive stands within a statement")
                .hint("End the statement above it with \";\".");
            self.problems.push(problem);
            return;
        }
        self.end_head();
        match self.directive(line) {
            Ok(()) => {}
            Err(problem) => {
                self.problems.push(problem);
                self.head = Some((line.span(), Head::Broken));
            }
        }
    }

    fn directive(&mut self, line: Piece<'_>) -> Result<(), Diagnostic> {
        let (tag, arguments) = line.take_while(|c| !c.is_whitespace());
        let arguments = arguments.trim();
        let what = "Directives of a test are";
        let name = directive::known(self.source, tag, what, &DIRECTIVES)?;
        if arguments.is_empty() && name != "expected" {
            return Err(self
                .source
                .at(tag.span(), format!("\"@{name}\" says nothing"))
                .hint(format!("Write it as: -- {}", sample(name))));
        }
        let span = tag.span();
        match name {
            "case" => self.case(arguments)?,
            "now" => {
                let moment = moment(self.source, arguments)?;
                self.step(span, Action::Now(moment));
            }
            "given" | "change" => {
                let mut cursor = Cursor::new(self.source, arguments, sample(name))?;
                let (table, table_span) = table(&mut cursor)?;
                let deletes = name == "change" && cursor.accept_word("delete");
                cursor.end()?;
                let head = match name {
                    "given" => Head::Given(table, table_span),
                    _ if deletes => Head::Delete(table, table_span),
                    _ => Head::Change(table, table_span),
                };
                self.head = Some((span, head));
            }
            _ => self.expected(span, arguments)?,
        }
        Ok(())
    }

    fn case(&mut self, name: Piece<'_>) -> Result<(), Diagnostic> {
        let other = self
            .cases
            .iter()
            .find(|case| case.name.as_deref() == Some(name.text));
        if other.is_some() {
            return Err(self
                .source
                .at(
                    name.span(),
                    format!("two cases are named \"{}\"", name.text),
                )
                .hint("Give each case of a file a name of its own."));
        }
        self.cases.push(Case {
            name: Some(name.text.to_owned()),
            span: name.span(),
            steps: Vec::new(),
        });
        Ok(())
    }

    fn expected(&mut self, span: Span, arguments: Piece<'_>) -> Result<(), Diagnostic> {
        if arguments.is_empty() {
            self.head = Some((span, Head::Rows));
            return Ok(());
        }
        let mut cursor = Cursor::new(self.source, arguments, sample("expected"))?;
        let outcome = match cursor.one_of(&["no", "quarantine", "held", "warned"])? {
            "no" => {
                cursor.words("rows")?;
                Some(Outcome::Rows(None))
            }
            "quarantine" if cursor.is_at_end() => None,
            "quarantine" => {
                cursor.words("no rows")?;
                Some(Outcome::Quarantine(None))
            }
            "held" if cursor.is_at_end() => Some(Outcome::Held(None)),
            "held" => Some(Outcome::Held(Some(rule(&mut cursor)?))),
            _ => {
                let rule = rule(&mut cursor)?;
                Some(Outcome::Warned(rule, cursor.count(0, "a number of rows")?))
            }
        };
        cursor.end()?;
        match outcome {
            Some(outcome) => self.step(span, Action::Expect(outcome)),
            None => self.head = Some((span, Head::Quarantine)),
        }
        Ok(())
    }

    fn step(&mut self, span: Span, action: Action) {
        let steps = match self.cases.last_mut() {
            Some(case) => &mut case.steps,
            None => &mut self.shared,
        };
        steps.push(Step { span, action });
    }

    fn end_head(&mut self) {
        if let Some((span, head)) = self.head.take()
            && !matches!(head, Head::Broken)
        {
            let problem = self
                .source
                .at(span, "the directive has no SELECT below it")
                .hint(ROWS_HINT);
            self.problems.push(problem);
        }
    }

    fn end_statement(&mut self) {
        let tokens = std::mem::take(&mut self.statement);
        if tokens.is_empty() {
            return;
        }
        let Some((span, head)) = self.head.take() else {
            return;
        };
        if matches!(head, Head::Broken) {
            return;
        }
        match query(self.source, &tokens) {
            Ok(query) => {
                let rows = |table, table_span, query| Rows {
                    table,
                    table_span,
                    query,
                };
                let action = match head {
                    Head::Given(table, at) => Action::Given(rows(table, at, query)),
                    Head::Change(table, at) => Action::Change(rows(table, at, query)),
                    Head::Delete(table, at) => Action::Delete(rows(table, at, query)),
                    Head::Quarantine => Action::Expect(Outcome::Quarantine(Some(query))),
                    Head::Rows | Head::Broken => Action::Expect(Outcome::Rows(Some(query))),
                };
                self.step(span, action);
            }
            Err(problem) => self.problems.push(problem),
        }
    }

    /// The cases, each with the shared steps before its own.
    fn cases(&mut self) -> Vec<Case> {
        let mut cases = std::mem::take(&mut self.cases);
        if cases.is_empty() {
            cases.push(Case {
                name: None,
                span: Span::new(Location::new(1, 1), Location::new(1, 1)),
                steps: Vec::new(),
            });
        }
        for case in &mut cases {
            let own = std::mem::replace(&mut case.steps, self.shared.clone());
            case.steps.extend(own);
            let expects = case
                .steps
                .iter()
                .any(|step| matches!(step.action, Action::Expect(_)));
            if !expects && self.problems.is_empty() {
                let problem = self.source.at(case.span, "the test expects nothing").hint(
                    "Add a line `-- @expected` with the rows that the table must hold below it.",
                );
                self.problems.push(problem);
            }
        }
        cases
    }
}

fn sample(name: &str) -> &'static str {
    match name {
        "case" => "@case A distance exactly at the limit",
        "now" => "@now 2026-03-29T01:30:00Z, or later: @now +1d",
        "given" => "@given silver.employees",
        "change" => "@change silver.employees, or to delete keys: @change silver.employees delete",
        _ => {
            "@expected, or with: no rows, quarantine, quarantine no rows, held RULE, warned RULE 2"
        }
    }
}

fn table(cursor: &mut Cursor<'_>) -> Result<(TableName, Span), Diagnostic> {
    let (first, span) = cursor.name("a table's name")?;
    let (schema, name, span) = if cursor.accept(&Token::Period) {
        let (name, last) = cursor.name("the table's name behind its schema")?;
        (first, name, Span::new(span.start, last.end))
    } else {
        (DEFAULT_SCHEMA.to_owned(), first, span)
    };
    let table = TableName::new(&schema, &name).map_err(|error| {
        let hint = error.hint.clone();
        cursor.at(span, error.to_string()).hint(hint)
    })?;
    Ok((table, span))
}

fn rule(cursor: &mut Cursor<'_>) -> Result<RuleName, Diagnostic> {
    let (name, span) = cursor.name("the rule's name")?;
    Ok(RuleName { name, span })
}

/// `2026-03-29T01:30:00Z`, `2026-03-29 01:30` (UTC) or `+1d`.
fn moment(source: Source<'_>, text: Piece<'_>) -> Result<Moment, Diagnostic> {
    if text.text.starts_with('+') {
        let (_, rest) = text.take_while(|c| c == '+');
        let mut cursor = Cursor::new(source, rest, sample("now"))?;
        let later: Duration = cursor.duration()?;
        cursor.end()?;
        return Ok(Moment::Later(later));
    }
    let with_zone = text.text.parse::<DateTime<Utc>>().ok();
    let naive = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text.text, format).ok());
    let plausible = |at: &DateTime<Utc>| at.timestamp_nanos_opt().is_some();
    with_zone
        .or_else(|| naive.map(|naive| naive.and_utc()))
        .filter(plausible)
        .map(Moment::At)
        .ok_or_else(|| {
            source
                .at(text.span(), format!("\"{}\" is no time", text.text))
                .hint(format!("Write it as: -- {}", sample("now")))
        })
}

/// One SELECT that makes its rows by itself.
fn query(source: Source<'_>, tokens: &[TokenWithSpan]) -> Result<Box<Query>, Diagnostic> {
    if tokens.len() > depth::MAX_TOKENS {
        let message = format!("the statement has more than {} words", depth::MAX_TOKENS);
        return Err(source.at(tokens[0].span, message));
    }
    let query = file::query(source, tokens)?;
    match graph::references(&query).first() {
        Some(reference) => Err(source
            .at(reference.span, "the rows of a test come from no table")
            .hint(ROWS_HINT)),
        None => Ok(query),
    }
}
