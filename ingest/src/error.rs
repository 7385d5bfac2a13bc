use changes::Topic;
use engine::{Error, ErrorKind};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

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

/// What brokers say of one topic, where it is no matter of reaching them.
pub(crate) fn of_topic(topic: &Topic, what: &str, error: &KafkaError) -> Option<Error> {
    let (kind, message, hint) = match error.rdkafka_error_code()? {
        RDKafkaErrorCode::TopicAuthorizationFailed => (
            ErrorKind::PermissionDenied,
            format!("the brokers do not let this client {what} \"{topic}\""),
            format!(
                "Let the user of [kafka] Read and Describe it: kafka-acls --add --allow-principal User:.. \
                 --operation Read --operation Describe --topic {topic}."
            ),
        ),
        RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition => (
            ErrorKind::NotFound,
            format!("topic \"{topic}\" is gone"),
            "Make it again, or take it out of ingest.topics.".to_owned(),
        ),
        _ => return None,
    };
    Some(
        Error::new(kind, message)
            .hint(hint)
            .caused_by(error.clone()),
    )
}

/// Whether brokers answered, and refuse one topic.
pub(crate) fn is_of_topic(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::NotFound
    )
}

/// Whether trying the same again later can succeed.
pub(crate) fn is_transient(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unavailable | ErrorKind::DeadlineExceeded | ErrorKind::ResourceExhausted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_read_a_topic_is_told_which_and_what_it_takes() {
        let topic: Topic = "s.public.a".parse().expect("a topic");
        let said = |code| of_topic(&topic, "read", &KafkaError::MetadataFetch(code));
        let error = said(RDKafkaErrorCode::TopicAuthorizationFailed).expect("of the topic");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("read \"s.public.a\""), "{error}");
        let hint = error.hint_text().expect("a hint");
        assert!(
            hint.contains("--operation Describe --topic s.public.a"),
            "{hint}"
        );
        assert!(is_of_topic(&error) && !is_transient(&error));
        assert!(said(RDKafkaErrorCode::BrokerTransportFailure).is_none());
    }
}
