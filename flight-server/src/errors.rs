//! The one mapping from what went wrong to what a gRPC client is told.

use engine::{Error, ErrorKind};
use tonic::{Code, Status};

/// The gRPC status of an error: its kind as the code, its message and hint as the text.
pub(crate) fn status(error: Error) -> Status {
    let code = code(error.kind());
    if matches!(code, Code::Internal | Code::DataLoss) {
        tracing::error!(error = %error.with_causes(), "request failed");
    }
    let text = match error.hint_text() {
        Some(hint) => format!("{error}\nhint: {hint}"),
        None => error.to_string(),
    };
    Status::new(code, text)
}

fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::InvalidRequest => Code::InvalidArgument,
        ErrorKind::Unsupported => Code::Unimplemented,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorKind::ResourceExhausted => Code::ResourceExhausted,
        ErrorKind::Corrupt => Code::DataLoss,
        ErrorKind::Internal => Code::Internal,
        ErrorKind::Cancelled => Code::Cancelled,
    }
}

/// `arrow-flight` calls a command that does not decode an internal error; it is the client's.
pub(crate) fn blame_client(status: Status) -> Status {
    let undecodable =
        status.code() == Code::Internal && status.message().contains("Unable to decode Any value");
    if undecodable {
        malformed("the command")
    } else {
        status
    }
}

pub(crate) fn malformed(what: &str) -> Status {
    status(
        Error::invalid(format!("{what} is malformed"))
            .hint("Send a Flight SQL command; a driver does that, a plain Flight client does not."),
    )
}

pub(crate) fn unknown_action(name: &str) -> Status {
    status(
        Error::new(
            ErrorKind::Unsupported,
            format!("there is no action \"{name}\""),
        )
        .hint("ListActions names those there are; transactions and Substrait are not among them."),
    )
}

/// A call that came past the door; there is no such path.
pub(crate) fn nobody() -> Status {
    Status::internal("nobody knows who sent this call")
}

/// What every write is answered with.
pub(crate) fn read_only(what: &str) -> Status {
    status(
        Error::invalid(format!("{what} is refused: this endpoint only reads"))
            .hint("Tables are built from the SQL project; change a file of it, or feed a topic."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_code() {
        let table = [
            (ErrorKind::InvalidRequest, "InvalidArgument"),
            (ErrorKind::Unsupported, "Unimplemented"),
            (ErrorKind::NotFound, "NotFound"),
            (ErrorKind::Unauthenticated, "Unauthenticated"),
            (ErrorKind::PermissionDenied, "PermissionDenied"),
            (ErrorKind::Conflict, "Aborted"),
            (ErrorKind::Unavailable, "Unavailable"),
            (ErrorKind::DeadlineExceeded, "DeadlineExceeded"),
            (ErrorKind::ResourceExhausted, "ResourceExhausted"),
            (ErrorKind::Corrupt, "DataLoss"),
            (ErrorKind::Internal, "Internal"),
            (ErrorKind::Cancelled, "Cancelled"),
        ];
        for (of, name) in table {
            assert_eq!(format!("{:?}", code(of)), name, "{of:?}");
        }
    }

    #[test]
    fn the_hint_travels_with_the_message() {
        let error = Error::invalid("column \"qty\" not found").hint("Columns are a and b.");
        let status = status(error);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(
            status.message(),
            "column \"qty\" not found\nhint: Columns are a and b."
        );
    }

    #[test]
    fn a_malformed_command_is_the_clients_mistake() {
        let theirs = Status::internal("ParseError(\"Unable to decode Any value: eof\")");
        assert_eq!(blame_client(theirs).code(), Code::InvalidArgument);
        let ours = Status::internal("out of luck");
        assert_eq!(blame_client(ours).code(), Code::Internal);
    }
}
