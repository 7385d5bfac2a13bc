//! What a browser sends in an address or a form: names and values, few and short.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use engine::{Error, Result};
use tokio::time::timeout;
use url::form_urlencoded;

use crate::visit::Site;

/// Bytes of a query string or of a form.
pub(crate) const LONGEST: usize = 8 * 1024;
const LONGEST_VALUE: usize = 1024;
const MOST_VALUES: usize = 32;

/// Hands a request on when all of its form is there: not too long, and not too late.
pub(crate) async fn whole(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let asking = site.config.asking;
    let (parts, body) = request.into_parts();
    match timeout(asking, to_bytes(body, LONGEST)).await {
        Ok(Ok(form)) => next.run(Request::from_parts(parts, Body::from(form))).await,
        Ok(Err(_)) => (
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a form has {LONGEST} bytes at most\n"),
        )
            .into_response(),
        Err(_) => (
            StatusCode::REQUEST_TIMEOUT,
            format!("the form did not come in {} s\n", asking.as_secs()),
        )
            .into_response(),
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Values(Vec<(String, String)>);

impl Values {
    /// # Errors
    /// `InvalidRequest` for more or longer values than any form of ours has.
    pub(crate) fn read(text: &[u8]) -> Result<Self> {
        let too_much = || {
            Error::invalid("the request has more, or longer, values than the page's forms")
                .hint("Go back to the page and use its form.")
        };
        if text.len() > LONGEST {
            return Err(too_much());
        }
        let mut values = Vec::new();
        for (name, value) in form_urlencoded::parse(text) {
            if values.len() >= MOST_VALUES || value.len() > LONGEST_VALUE || name.len() > 64 {
                return Err(too_much());
            }
            values.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(values))
    }

    /// The first value of a name; nothing where it is empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut found = self.0.iter().filter(|(other, _)| other == name);
        let value = found.next().map(|(_, value)| value.trim());
        value.filter(|value| !value.is_empty())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// A value as it was typed.
    pub(crate) fn raw(&self, name: &str) -> Option<&str> {
        let mut found = self.0.iter().filter(|(other, _)| other == name);
        found.next().map(|(_, value)| value.as_str())
    }

    /// The same address with another value of one name, or without it.
    pub(crate) fn with(&self, name: &str, value: Option<&str>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (other, kept) in self.0.iter().filter(|(other, _)| other != name) {
            query.append_pair(other, kept);
        }
        if let Some(value) = value {
            query.append_pair(name, value);
        }
        query.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_written() {
        let values = Values::read("bu=R%26D+Sud&lang=fr&empty=&bu=x".as_bytes()).expect("few");
        assert_eq!(values.get("bu"), Some("R&D Sud"));
        assert_eq!(values.get("empty"), None);
        assert_eq!(
            values.with("lang", Some("en")),
            "bu=R%26D+Sud&empty=&bu=x&lang=en"
        );
        assert_eq!(values.with("bu", None), "lang=fr&empty=");
    }

    #[test]
    fn too_many_or_too_long_values_are_refused() {
        let many = "a=1&".repeat(MOST_VALUES + 1);
        let long = format!("a={}", "x".repeat(LONGEST_VALUE + 1));
        let longest = "x".repeat(LONGEST + 1);
        for text in [many, long, longest] {
            assert!(Values::read(text.as_bytes()).is_err());
        }
    }
}
