//! What went wrong, as a page: the kind in the reader's language, the message as it is.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::{Error, ErrorKind};
use maud::{Markup, html};

use crate::layout;
use crate::visit::Visit;

/// Seconds after which somebody who found no room may try again.
const RETRY_SECONDS: &str = "5";

/// The one mapping of error kinds to HTTP.
pub(crate) fn code(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::InvalidRequest => StatusCode::BAD_REQUEST,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Corrupt | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorKind::Cancelled => client_closed_request(),
    }
}

/// 499, which has no name in the standard.
fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The page of an error, under its status.
pub(crate) fn shown(visit: &Visit, error: &Error) -> Response {
    let title = title(visit, error.kind());
    let body = html! {
        h1 { (title) }
        (told(error))
        @if visit.is_known() {
            p { a href="/" { (visit.say("Retour à l'accueil", "Back to the first page")) } }
        } @else {
            p { a href="/login" { (visit.say("Se connecter", "Sign in")) } }
        }
    };
    let mut response = (
        code(error.kind()),
        layout::document(visit, title, None, &body),
    )
        .into_response();
    if matches!(
        error.kind(),
        ErrorKind::Unavailable | ErrorKind::ResourceExhausted
    ) {
        let seconds = HeaderValue::from_static(RETRY_SECONDS);
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

/// An error inside a page, whose other parts go on.
pub(crate) fn told(error: &Error) -> Markup {
    if matches!(error.kind(), ErrorKind::Internal | ErrorKind::Corrupt) {
        tracing::error!(error = %error.with_causes(), "a page failed");
    }
    html! {
        div.notice.bad role="alert" lang="en" {
            p { (error) }
            @if let Some(hint) = error.hint_text() { p { (hint) } }
        }
    }
}

fn title(visit: &Visit, kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidRequest => visit.say("Demande refusée", "Request refused"),
        ErrorKind::Unsupported => visit.say("Demande impossible", "Not supported"),
        ErrorKind::NotFound => visit.say("Introuvable", "Not found"),
        ErrorKind::Unauthenticated => visit.say("Connexion nécessaire", "Sign-in needed"),
        ErrorKind::PermissionDenied => visit.say("Non autorisé", "Not allowed"),
        ErrorKind::Conflict => visit.say("Déjà en cours", "Conflict"),
        ErrorKind::Unavailable => visit.say("Pas encore disponible", "Not available yet"),
        ErrorKind::DeadlineExceeded => visit.say("Trop long", "Took too long"),
        ErrorKind::ResourceExhausted => visit.say("Trop de demandes", "Too many requests"),
        ErrorKind::Corrupt | ErrorKind::Internal => visit.say("Erreur interne", "Internal error"),
        ErrorKind::Cancelled => visit.say("Interrompu", "Cancelled"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_status_of_the_table() {
        let table = [
            (ErrorKind::InvalidRequest, 400),
            (ErrorKind::Unsupported, 501),
            (ErrorKind::NotFound, 404),
            (ErrorKind::Unauthenticated, 401),
            (ErrorKind::PermissionDenied, 403),
            (ErrorKind::Conflict, 409),
            (ErrorKind::Unavailable, 503),
            (ErrorKind::DeadlineExceeded, 504),
            (ErrorKind::ResourceExhausted, 429),
            (ErrorKind::Corrupt, 500),
            (ErrorKind::Internal, 500),
            (ErrorKind::Cancelled, 499),
        ];
        for (kind, status) in table {
            assert_eq!(code(kind).as_u16(), status, "{kind:?}");
        }
    }

    #[test]
    fn texts_cannot_break_out() {
        let error = Error::new(ErrorKind::NotFound, "<script>\"&'").hint("<b>");
        let page = told(&error).into_string();
        assert!(page.contains("&lt;script&gt;&quot;&amp;"), "{page}");
        assert!(
            page.contains("&lt;b&gt;") && !page.contains("<script>"),
            "{page}"
        );
    }
}
