use engine::{Error, ErrorKind};
use rdkafka::error::KafkaError;

/// The same error under the engine's name, which is what this crate returns.
pub(crate) fn from_changes(error: changes::Error) -> Error {
    use changes::ErrorKind as Theirs;
    let kind = match error.kind() {
        Theirs::InvalidRequest => ErrorKind::InvalidRequest,
        Theirs::Unsupported => ErrorKind::Unsupported,
        Theirs::NotFound => ErrorKind::NotFound,
        Theirs::Unauthenticated => ErrorKind::Unauthenticated,
        Theirs::PermissionDenied => ErrorKind::PermissionDenied,
        Theirs::Conflict => ErrorKind::Conflict,
        Theirs::Unavailable => ErrorKind::Unavailable,
        Theirs::DeadlineExceeded => ErrorKind::DeadlineExceeded,
        Theirs::ResourceExhausted => ErrorKind::ResourceExhausted,
        Theirs::Corrupt => ErrorKind::Corrupt,
        Theirs::Internal => ErrorKind::Internal,
        Theirs::Cancelled => ErrorKind::Cancelled,
    };
    let wrapped = Error::new(kind, error.to_string());
    match error.hint_text() {
        Some(hint) => wrapped.hint(hint.to_owned()),
        None => wrapped,
    }
}

pub(crate) fn unavailable(what: &str, error: KafkaError) -> Error {
    Error::new(ErrorKind::Unavailable, what)
        .hint("Check kafka.brokers and that the broker runs.")
        .caused_by(error)
}

/// Whether trying the same again later can succeed.
pub(crate) fn is_transient(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unavailable | ErrorKind::DeadlineExceeded | ErrorKind::ResourceExhausted
    )
}
