use std::io;
use std::process::ExitCode;

use crate::output;

/// A check, test or validation did its work and found something: exit code 1, already reported.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Found(pub(crate) String);

/// Says what went wrong on standard error and returns the exit code of its kind.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    output::failure(&render(error));
    ExitCode::from(code(error))
}

/// `error:`, each cause on a line of its own, and the nearest hint.
fn render(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}");
    let mut last = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !last.contains(&cause) {
            text.push_str("\ncause: ");
            text.push_str(&cause);
        }
        last = cause;
    }
    if let Some(hint) = error.chain().find_map(hint) {
        text.push_str("\nhint: ");
        text.push_str(hint);
    }
    text
}

fn hint<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a str> {
    if unwritten(error).is_some_and(is_full) {
        return Some("Make room where the output goes.");
    }
    if let Some(error) = error.downcast_ref::<engine::Error>() {
        return error.hint_text();
    }
    if let Some(error) = error.downcast_ref::<exports::Error>() {
        return error.hint_text();
    }
    error.downcast_ref::<changes::Error>()?.hint_text()
}

fn code(error: &anyhow::Error) -> u8 {
    if error.is::<Found>() {
        return 1;
    }
    error.chain().find_map(kind_code).unwrap_or(70)
}

fn kind_code(error: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if let Some(kind) = unwritten(error) {
        return Some(if is_full(kind) { 7 } else { 6 });
    }
    if let Some(error) = error.downcast_ref::<engine::Error>() {
        return Some(engine_code(error.kind()));
    }
    if let Some(error) = error.downcast_ref::<exports::Error>() {
        return Some(exports_code(error.kind()));
    }
    let error = error.downcast_ref::<changes::Error>()?;
    Some(changes_code(error.kind()))
}

fn engine_code(kind: engine::ErrorKind) -> u8 {
    use engine::ErrorKind as Kind;
    match kind {
        Kind::InvalidRequest | Kind::Unsupported => 2,
        Kind::NotFound => 3,
        Kind::Unauthenticated | Kind::PermissionDenied => 4,
        Kind::Conflict => 5,
        Kind::Unavailable | Kind::DeadlineExceeded => 6,
        Kind::ResourceExhausted => 7,
        Kind::Corrupt => 8,
        Kind::Internal => 70,
        Kind::Cancelled => INTERRUPTED,
    }
}

fn changes_code(kind: changes::ErrorKind) -> u8 {
    use changes::ErrorKind as Kind;
    match kind {
        Kind::InvalidRequest | Kind::Unsupported => 2,
        Kind::NotFound => 3,
        Kind::Unauthenticated | Kind::PermissionDenied => 4,
        Kind::Conflict => 5,
        Kind::Unavailable | Kind::DeadlineExceeded => 6,
        Kind::ResourceExhausted => 7,
        Kind::Corrupt => 8,
        Kind::Internal => 70,
        Kind::Cancelled => INTERRUPTED,
    }
}

fn exports_code(kind: exports::ErrorKind) -> u8 {
    use exports::ErrorKind as Kind;
    match kind {
        Kind::InvalidRequest => 2,
        Kind::Unavailable => 6,
        Kind::ResourceExhausted => 7,
        Kind::Internal => 70,
    }
}

/// What a shell reports for a program that Ctrl-C ended.
pub(crate) const INTERRUPTED: u8 = 130;

/// `sportlake query ... | head` is no failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let mut kinds = error.chain().filter_map(unwritten);
    kinds.any(|kind| kind == io::ErrorKind::BrokenPipe)
}

/// Why standard output cannot be written, where that is the error.
fn unwritten(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let io = error.downcast_ref::<io::Error>()?;
    let is_output = io
        .get_ref()
        .is_some_and(|inner| inner.is::<output::Unwritten>());
    is_output.then(|| io.kind())
}

fn is_full(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_code_of_the_table() {
        use engine::ErrorKind as Kind;
        let table = [
            (Kind::InvalidRequest, 2),
            (Kind::Unsupported, 2),
            (Kind::NotFound, 3),
            (Kind::Unauthenticated, 4),
            (Kind::PermissionDenied, 4),
            (Kind::Conflict, 5),
            (Kind::Unavailable, 6),
            (Kind::DeadlineExceeded, 6),
            (Kind::ResourceExhausted, 7),
            (Kind::Corrupt, 8),
            (Kind::Internal, 70),
            (Kind::Cancelled, 130),
        ];
        for (kind, expected) in table {
            let error = anyhow::Error::from(engine::Error::new(kind, "x"));
            assert_eq!(code(&error.context("while doing y")), expected, "{kind:?}");
        }
    }

    #[test]
    fn an_error_is_told_with_its_causes_and_hint() {
        let cause = changes::Error::invalid("\"x\" is no number").hint("Write a number.");
        let error =
            anyhow::Error::from(engine::Error::invalid("could not read it").caused_by(cause));
        assert_eq!(
            render(&error),
            "error: could not read it\ncause: \"x\" is no number\nhint: Write a number."
        );
    }

    #[test]
    fn what_a_check_found_is_one() {
        assert_eq!(
            code(&anyhow::Error::from(Found("2 problems".to_owned()))),
            1
        );
    }
}
