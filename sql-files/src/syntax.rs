use sqlparser::ast::Ident;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, TokenWithSpan, Tokenizer};

/// The SQL of project files and of clients. PostgreSQL's, because there `a ->> 'x' = 'y'` means what it looks like.
pub static DIALECT: PostgreSqlDialect = PostgreSqlDialect {};

/// Deeper nesting is refused instead of risking the stack.
const NESTING: usize = 50;

/// What the parser did not like, and where when it says so.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    pub message: String,
    pub location: Option<Location>,
}

impl From<ParserError> for SyntaxError {
    fn from(error: ParserError) -> Self {
        match error {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => {
                let (message, location) = split_location(&text);
                Self {
                    message: lower_first(message),
                    location,
                }
            }
            ParserError::RecursionLimitExceeded => Self {
                message: "the SQL is nested too deeply".to_owned(),
                location: None,
            },
        }
    }
}

/// Tokens of `text`, placed as if it stood at `start`.
pub fn tokenize(text: &str, start: Location) -> Result<Vec<TokenWithSpan>, SyntaxError> {
    let place = |location: Location| {
        if location.line <= 1 {
            Location::new(start.line, start.column + location.column.max(1) - 1)
        } else {
            Location::new(start.line + location.line - 1, location.column)
        }
    };
    let mut tokens = Tokenizer::new(&DIALECT, text)
        .tokenize_with_location()
        .map_err(|error| SyntaxError {
            message: lower_first(&error.message),
            location: Some(place(error.location)),
        })?;
    for token in &mut tokens {
        token.span = Span::new(place(token.span.start), place(token.span.end));
    }
    Ok(tokens)
}

pub fn parser(tokens: Vec<TokenWithSpan>) -> Parser<'static> {
    Parser::new(&DIALECT)
        .with_recursion_limit(NESTING)
        .with_tokens_with_locations(tokens)
}

/// The name an identifier stands for: lower case unless quoted.
pub fn normal(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// sqlparser ends its messages with ` at Line: 1, Column: 2`.
fn split_location(text: &str) -> (&str, Option<Location>) {
    let Some((message, place)) = text.rsplit_once(" at Line: ") else {
        return (text, None);
    };
    let numbers = place
        .split_once(", Column: ")
        .and_then(|(line, column)| Some(Location::new(line.parse().ok()?, column.parse().ok()?)));
    match numbers {
        Some(location) => (message, Some(location)),
        None => (text, None),
    }
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}
