//! One request to the page, and everything that its answer is made with.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono_tz::Tz;
use engine::{Clock, Desk, Error, ErrorKind, Lake, Result, Visitor};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::HttpConfig;
use crate::export::Exports;
use crate::form::Values;
use crate::language::Language;
use crate::live::Followers;

/// What every answer is made with.
pub(crate) struct Site {
    pub(crate) desk: Arc<dyn Desk>,
    /// Where requests to the writing roles are put.
    pub(crate) lake: Lake,
    pub(crate) clock: Clock,
    pub(crate) zone: Tz,
    pub(crate) config: HttpConfig,
    pub(crate) followers: Followers,
    pub(crate) exports: Exports,
    /// Places for explanations of rows, which are many statements each and wait in no queue.
    pub(crate) explanations: Semaphore,
    pub(crate) shutdown: CancellationToken,
}

/// A request that came through the door.
#[derive(Clone)]
pub(crate) struct Visit {
    pub(crate) site: Arc<Site>,
    pub(crate) visitor: Visitor,
    pub(crate) language: Language,
    pub(crate) path: String,
    pub(crate) values: Values,
    /// The token of the cookie; empty where there is none.
    pub(crate) token: String,
}

impl Visit {
    pub(crate) fn say(&self, french: &'static str, english: &'static str) -> &'static str {
        self.language.say(french, english)
    }

    /// Whether this is somebody whom the page shows more than its sign-in.
    pub(crate) fn is_known(&self) -> bool {
        self.visitor.principal.is_operator() || !self.token.is_empty()
    }

    /// What the forms of this visitor's pages carry, and nobody else's.
    pub(crate) fn form_token(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.site.desk.proof(&self.token))
    }

    /// The values of a form of ours.
    ///
    /// # Errors
    /// `PermissionDenied` for one that this visitor's page did not make.
    pub(crate) fn form(&self, body: &[u8]) -> Result<Values> {
        let form = Values::read(body)?;
        let sent = form.raw("token").unwrap_or_default();
        match same(sent.as_bytes(), self.form_token().as_bytes()) {
            true => Ok(form),
            false => Err(Error::new(
                ErrorKind::PermissionDenied,
                "the form is not one of this page, or is from before you signed in",
            )
            .hint("Load the page again and repeat.")),
        }
    }
}

/// Compares without telling by its duration where the first difference is.
fn same(left: &[u8], right: &[u8]) -> bool {
    let pairs = left.iter().zip(right);
    let difference = pairs.fold(0, |found, (a, b)| std::hint::black_box(found | (a ^ b)));
    left.len() == right.len() && difference == 0
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, StatusCode> {
        let visit = parts.extensions.get::<Self>();
        visit.cloned().ok_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}
