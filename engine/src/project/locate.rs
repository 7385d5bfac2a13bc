use datafusion::common::{SchemaError, Span as PlanSpan};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use sql_files::{Diagnostic, Source, suggest, syntax};
use sqlparser::tokenizer::{Location, Span, Token};

use crate::error::Error;
use crate::nearest;

/// Puts a planning error at its place in the file. `fallback` is where it goes when the engine
/// does not say.
pub(crate) fn locate(
    error: DataFusionError,
    source: Source<'_>,
    fallback: Span,
    state: &SessionState,
) -> Vec<Diagnostic> {
    match error {
        DataFusionError::Collection(errors) => errors
            .into_iter()
            .flat_map(|error| locate(error, source, fallback, state))
            .collect(),
        error => vec![locate_one(error, source, fallback, state)],
    }
}

fn locate_one(
    error: DataFusionError,
    source: Source<'_>,
    fallback: Span,
    state: &SessionState,
) -> Diagnostic {
    let told = error
        .diagnostic()
        .and_then(|diagnostic| diagnostic.span)
        .map(parser_span);
    if let DataFusionError::SchemaError(inner, _) = error.find_root() {
        return schema_problem(inner, source, told, fallback);
    }
    let text = Error::from(error).to_string();
    let line = text.lines().next().unwrap_or_default();
    if let Some(name) = between(line, "Invalid function '", "'") {
        let span = told.or_else(|| word(source, fallback, name));
        return source
            .at(
                span.unwrap_or(fallback),
                format!("unknown function \"{name}\""),
            )
            .maybe_hint(similar_function(name, state));
    }
    // Types that do not fit come without a place, but name the function.
    let named = between(line, "argument types '", "(").or_else(|| {
        between(
            line,
            "Failed to coerce arguments to satisfy a call to '",
            "'",
        )
    });
    let span = told
        .or_else(|| named.and_then(|name| word(source, fallback, name)))
        .unwrap_or(fallback);
    source.at(span, sentence(line.split(". ").next().unwrap_or(line)))
}

fn schema_problem(
    error: &SchemaError,
    source: Source<'_>,
    told: Option<Span>,
    fallback: Span,
) -> Diagnostic {
    let at = |name: &str, message: String| {
        let span = told.or_else(|| word(source, fallback, name));
        source.at(span.unwrap_or(fallback), message)
    };
    match error {
        SchemaError::FieldNotFound {
            field,
            valid_fields,
        } => {
            let known: Vec<&str> = valid_fields
                .iter()
                .filter(|known| field.relation.is_none() || known.relation == field.relation)
                .map(|known| known.name.as_str())
                .collect();
            let message = match &field.relation {
                Some(relation) if known.is_empty() => {
                    format!("\"{relation}\" is no table of this query")
                }
                Some(relation) => format!("\"{relation}\" has no column \"{}\"", field.name),
                None => format!("unknown column \"{}\"", field.name),
            };
            let hint = suggest(&field.name, "Columns are", known.iter().copied());
            at(&field.name, message).maybe_hint(hint)
        }
        SchemaError::AmbiguousReference { field } => at(
            &field.name,
            format!("column \"{}\" is in several tables", field.name),
        )
        .hint("Write the table's name or alias before it."),
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => {
            at(name, format!("two columns are named \"{name}\"")).hint("Rename one with AS.")
        }
    }
}

fn similar_function(name: &str, state: &SessionState) -> Option<String> {
    let mut names: Vec<&str> = state
        .scalar_functions()
        .keys()
        .chain(state.aggregate_functions().keys())
        .chain(state.window_functions().keys())
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    nearest::name(name, names).map(|near| format!("Did you mean \"{near}\"?"))
}

fn parser_span(span: PlanSpan) -> Span {
    Span::new(
        Location::new(span.start.line, span.start.column),
        Location::new(span.end.line, span.end.column),
    )
}

/// The first place at or behind `from` where `name` stands as a word of its own.
fn word(source: Source<'_>, from: Span, name: &str) -> Option<Span> {
    let tokens = syntax::tokenize(source.text, Location::new(1, 1)).ok()?;
    tokens
        .into_iter()
        .filter(|token| token.span.start >= from.start)
        .find(|token| match &token.token {
            Token::Word(word) => word.value.eq_ignore_ascii_case(name),
            _ => false,
        })
        .map(|token| token.span)
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = &text[text.find(before)? + before.len()..];
    Some(&rest[..rest.find(after)?])
}

fn sentence(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut characters = text.chars();
    match characters.next() {
        Some(first) if !text.starts_with(|c: char| c.is_uppercase()) || is_acronym(text) => {
            std::iter::once(first).chain(characters).collect()
        }
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => "the query cannot be planned".to_owned(),
    }
}

fn is_acronym(text: &str) -> bool {
    text.chars().take(2).all(char::is_uppercase)
}
