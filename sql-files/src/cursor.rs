use std::time::Duration;

use sqlparser::ast::{Expr, Query, Spanned, Visit};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};

use crate::depth;
use crate::diagnostic::{Diagnostic, Source};
use crate::directive::Column;
use crate::piece::Piece;
use crate::suggest::suggest;
use crate::syntax::{self, SyntaxError, normal};

const COMMENT: &str = "-- ";

/// Reads the arguments of one directive, or one statement, word by word.
pub struct Cursor<'a> {
    source: Source<'a>,
    parser: Parser<'static>,
    end: Location,
    /// How it is written: what comes before the sample, and the sample.
    lead: &'static str,
    sample: &'static str,
}

impl<'a> Cursor<'a> {
    pub fn new(
        source: Source<'a>,
        arguments: Piece<'_>,
        sample: &'static str,
    ) -> Result<Self, Diagnostic> {
        let end = arguments.end();
        match syntax::tokenize(arguments.text, arguments.start()) {
            Ok(tokens) => Ok(Self {
                source,
                parser: syntax::parser(tokens),
                end,
                lead: COMMENT,
                sample,
            }),
            Err(error) => Err(source
                .at_word(error.location.unwrap_or(end), error.message)
                .hint(format!("Write it as: {COMMENT}{sample}"))),
        }
    }

    /// Reads a statement that ends at `end`.
    pub fn of_statement(
        source: Source<'a>,
        tokens: Vec<TokenWithSpan>,
        end: Location,
        sample: &'static str,
    ) -> Self {
        Self {
            source,
            parser: syntax::parser(tokens),
            end,
            lead: "",
            sample,
        }
    }

    /// How the statement is written, once its first words tell which one it is.
    pub fn show(&mut self, sample: &'static str) {
        self.sample = sample;
    }

    /// `a, b, c`
    pub fn columns(&mut self) -> Result<Vec<Column>, Diagnostic> {
        let mut columns: Vec<Column> = Vec::new();
        loop {
            let column = self.column()?;
            if columns.iter().any(|other| other.name == column.name) {
                return Err(self
                    .source
                    .at(column.span, format!("\"{}\" is named twice", column.name)));
            }
            columns.push(column);
            if !self.accept(&Token::Comma) {
                return Ok(columns);
            }
        }
    }

    fn column(&mut self) -> Result<Column, Diagnostic> {
        let (name, span) = self.identifier("a column name")?;
        Ok(Column { name, span })
    }

    /// A name of SQL, which may be quoted.
    pub fn identifier(&mut self, what: &str) -> Result<(String, Span), Diagnostic> {
        let token = self.peek();
        if !matches!(token.token, Token::Word(_)) {
            return Err(self.expected(what));
        }
        let ident = self
            .parser
            .parse_identifier()
            .map_err(|error| self.syntax(error.into()))?;
        Ok((normal(&ident), token.span))
    }

    /// A name such as an expectation's, not a column.
    pub fn name(&mut self, what: &str) -> Result<(String, Span), Diagnostic> {
        let token = self.peek();
        match &token.token {
            Token::Word(word) if word.quote_style.is_none() => {
                self.parser.next_token();
                Ok((word.value.to_lowercase(), token.span))
            }
            _ => Err(self.expected(what)),
        }
    }

    /// An expression of SQL, such as a condition.
    pub fn expression(&mut self, what: &str) -> Result<Expr, Diagnostic> {
        if self.is_at_end() {
            return Err(self.expected(&format!("a {what}")));
        }
        let start = self.peek().span;
        let expression = self
            .parser
            .parse_expr()
            .map_err(|error| self.syntax(error.into()))?;
        self.shallow(expression, start, what)
    }

    /// A SELECT, and where it starts.
    pub fn query(&mut self) -> Result<(Query, Span), Diagnostic> {
        let start = self.peek().span;
        let query = self
            .parser
            .parse_query()
            .map_err(|error| self.syntax(error.into()))?;
        Ok((self.shallow(*query, start, "query")?, start))
    }

    fn shallow<T: Visit>(&self, read: T, start: Span, what: &str) -> Result<T, Diagnostic> {
        match depth::is_too_deep(&read, depth::FILE_DEPTH) {
            true => Err(self.at(start, format!("the {what} is nested too deeply"))),
            false => Ok(read),
        }
    }

    /// `500ms`, `60s`, `5m`, `1h` or `2d`.
    pub fn duration(&mut self) -> Result<Duration, Diagnostic> {
        let (token, unit) = (self.peek(), self.parser.peek_nth_token(1));
        let duration = match (&token.token, &unit.token) {
            (Token::Number(number, false), Token::Word(word)) => {
                number.parse::<u64>().ok().and_then(|number| {
                    let milliseconds = match word.value.to_lowercase().as_str() {
                        "ms" => 1,
                        "s" => 1_000,
                        "m" | "min" => 60_000,
                        "h" => 3_600_000,
                        "d" => 86_400_000,
                        _ => return None,
                    };
                    number.checked_mul(milliseconds)
                })
            }
            _ => None,
        };
        match duration {
            Some(milliseconds) => {
                self.parser.next_token();
                self.parser.next_token();
                Ok(Duration::from_millis(milliseconds))
            }
            None => Err(self
                .expected("a duration")
                .hint("Durations are written 500ms, 60s, 5m, 1h or 2d.")),
        }
    }

    /// `5%`
    pub fn percent(&mut self) -> Result<f64, Diagnostic> {
        let token = self.peek();
        let percent = match &token.token {
            Token::Number(number, false) => number.parse::<f64>().ok(),
            _ => None,
        };
        match percent.filter(|percent| (0.0..=100.0).contains(percent)) {
            Some(percent) if self.parser.peek_nth_token(1).token == Token::Mod => {
                self.parser.next_token();
                self.parser.next_token();
                Ok(percent)
            }
            _ => Err(self
                .expected("a percentage")
                .hint("A percentage is written 5% and lies between 0% and 100%.")),
        }
    }

    /// A whole number from `least` on.
    pub fn count(&mut self, least: u64, what: &str) -> Result<u64, Diagnostic> {
        let count = match &self.peek().token {
            Token::Number(number, false) => number.parse::<u64>().ok(),
            _ => None,
        };
        let count = count.filter(|count| *count >= least);
        let count = count.ok_or_else(|| self.expected(what))?;
        self.parser.next_token();
        Ok(count)
    }

    pub fn words(&mut self, words: &str) -> Result<(), Diagnostic> {
        let known = words.split_whitespace().all(|word| self.accept_word(word));
        match known {
            true => Ok(()),
            false => Err(self.expected(&format!("\"{words}\""))),
        }
    }

    pub fn one_of(&mut self, words: &'static [&'static str]) -> Result<&'static str, Diagnostic> {
        let token = self.peek();
        if let Some(word) = words.iter().find(|word| self.accept_word(word)) {
            return Ok(word);
        }
        let choices = words.iter().copied();
        let hint = suggest(&token.token.to_string(), "It is one of", choices);
        Err(self
            .expected(&format!("one of {}", words.join(", ")))
            .maybe_hint(hint))
    }

    pub fn accept(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    /// Takes a sign, or says that it is missing.
    pub fn sign(&mut self, token: &Token) -> Result<(), Diagnostic> {
        match self.accept(token) {
            true => Ok(()),
            false => Err(self.expected(&format!("\"{token}\""))),
        }
    }

    pub fn accept_word(&mut self, word: &str) -> bool {
        let next = self.peek();
        let found = matches!(&next.token, Token::Word(w)
            if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word));
        if found {
            self.parser.next_token();
        }
        found
    }

    pub fn is_at_end(&self) -> bool {
        self.parser.peek_token_ref().token == Token::EOF
    }

    /// Refuses what is left over.
    pub fn end(&mut self) -> Result<(), Diagnostic> {
        if self.is_at_end() {
            return Ok(());
        }
        Err(self.expected("the end of the line"))
    }

    pub fn at(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        self.source.at(span, message)
    }

    pub fn at_expression(&self, expression: &Expr, message: String) -> Diagnostic {
        self.source.at(expression.span(), message)
    }

    pub fn expected(&self, what: &str) -> Diagnostic {
        let token = self.peek();
        let diagnostic = match token.token {
            Token::EOF => self
                .source
                .at_location(self.end, format!("expected {what} here")),
            _ => self.source.at(
                token.span,
                format!("expected {what}, found \"{}\"", token.token),
            ),
        };
        diagnostic.hint(format!("Write it as: {}{}", self.lead, self.sample))
    }

    fn syntax(&self, error: SyntaxError) -> Diagnostic {
        self.source
            .at_word(error.location.unwrap_or(self.end), error.message)
            .hint(format!("Write it as: {}{}", self.lead, self.sample))
    }

    pub fn peek(&self) -> TokenWithSpan {
        self.parser.peek_token()
    }
}
