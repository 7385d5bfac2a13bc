use engine::Error;

/// Parts of the names of keys, misspelt ones too, whose values may be secrets: those are in no message.
const SECRET: [&str; 7] = [
    "pas", "pwd", "secret", "token", "key", "webhook", "postgres",
];

/// How serde's sentence about an unknown section or key begins.
const UNKNOWN: &str = "unknown field ";

/// A mistake in the file, with its place and, for an unknown key, the nearest one that exists.
pub(super) fn in_file(name: &str, text: &str, error: &toml::de::Error) -> Error {
    let Some(span) = error.span() else {
        return Error::invalid(format!("{name}: {}", error.message()));
    };
    let before = &text[..span.start.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let source = text.lines().nth(line - 1).unwrap_or_default();
    let key = source.split('=').next().unwrap_or_default();
    let told = sayable(error.message(), key);
    let source = match is_secret(key) && key != source {
        true => format!("{key}= ..."),
        false => source.to_owned(),
    };
    let caret = format!("{:>column$}", "^");
    let (message, hint) = explain(told, section_at(text, line));
    let error = Error::invalid(format!(
        "{name}:{line}:{column}: {message}\n  {source}\n  {caret}"
    ));
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// A mistake in an environment variable.
pub(super) fn in_variable(name: &str, section: &str, message: &str) -> Error {
    let (message, hint) = explain(sayable(message, name), Some(section));
    let error = Error::invalid(format!("the variable \"{name}\": {message}"));
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET.iter().any(|part| key.contains(part))
}

/// Whether serde knows no such section or key.
pub(super) fn is_unknown(message: &str) -> bool {
    message.starts_with(UNKNOWN)
}

/// What may be said of a key's value: serde quotes it.
fn sayable<'a>(message: &'a str, key: &str) -> &'a str {
    match is_secret(key) && !is_unknown(message) {
        true => "its value is not of the right type, or is no TOML",
        false => message,
    }
}

/// The section that a line of the file belongs to; none for the lines that name sections.
fn section_at(text: &str, line: usize) -> Option<&str> {
    let mut lines = text
        .lines()
        .take(line)
        .collect::<Vec<_>>()
        .into_iter()
        .rev();
    let is_header = |line: &str| line.trim_start().starts_with('[');
    if lines.clone().next().is_some_and(is_header) {
        return None;
    }
    let header = lines.find(|line| is_header(line))?;
    header.trim().strip_prefix('[')?.split(']').next()
}

/// serde's sentence about an unknown field, as a message and a hint with the nearest name.
fn explain(message: &str, section: Option<&str>) -> (String, Option<String>) {
    let Some(rest) = message.strip_prefix(UNKNOWN) else {
        return (message.to_owned(), None);
    };
    let mut names = rest.split('`').skip(1).step_by(2);
    let unknown = names.next().unwrap_or_default();
    let known: Vec<&str> = names.collect();
    let message = match section {
        Some(section) => format!("unknown key \"{unknown}\" in [{section}]"),
        None => format!("unknown section \"{unknown}\""),
    };
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(unknown, name), *name))
        .min()
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 3));
    let hint = match (nearest, section) {
        (Some((_, name)), _) => format!("Did you mean \"{name}\"?"),
        (None, Some(section)) if known.is_empty() => format!("[{section}] has no keys."),
        (None, Some(section)) => format!("[{section}] has {}.", known.join(", ")),
        (None, None) => format!("The sections are {}.", known.join(", ")),
    };
    (message, Some(hint))
}
