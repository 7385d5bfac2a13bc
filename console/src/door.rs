//! The one door of the page: no handler runs before it is known who asks, from which page, by which name of ours.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use engine::{Error, ErrorKind, Principal, Result, Visitor};
use url::form_urlencoded;

use crate::failure;
use crate::form::Values;
use crate::language::Language;
use crate::visit::{Site, Visit};

const SESSION: &str = "sportlake_session";
const LANGUAGE: &str = "sportlake_lang";

/// Paths that nobody has to sign in for. They show nothing of the lake.
const OPEN: [&str; 3] = ["/login", "/style.css", "/live.js"];

const YEAR_SECONDS: u32 = 365 * 24 * 60 * 60;

pub(crate) async fn enter(
    State(site): State<Arc<Site>>,
    mut request: Request,
    next: Next,
) -> Response {
    let mut visit = match arrival(&site, &request) {
        Ok(visit) => visit,
        Err((visit, error)) => return failure::shown(&visit, &error),
    };
    let chosen = visit.values.get("lang").and_then(Language::of_code);
    if site.desk.has_users() {
        match site.desk.principal(&visit.token) {
            Ok(principal) => visit.visitor.principal = principal,
            Err(error) => {
                visit.token.clear();
                if !OPEN.contains(&visit.path.as_str()) {
                    return turned_away(&visit, &request, &error);
                }
            }
        }
    } else {
        visit.visitor.principal = Principal::operator("anonymous");
    }
    request.extensions_mut().insert(visit);
    let mut response = next.run(request).await;
    if let Some(language) = chosen {
        let cookie = format!(
            "{LANGUAGE}={}; Path=/; Max-Age={YEAR_SECONDS}; SameSite=Lax; HttpOnly",
            language.code()
        );
        set_cookie(&mut response, &cookie);
    }
    response
}

/// A request as it comes, of nobody yet. What is wrong with it is told in its language.
fn arrival(site: &Arc<Site>, request: &Request) -> Result<Visit, (Box<Visit>, Error)> {
    let headers = request.headers();
    let values = Values::read(request.uri().query().unwrap_or_default().as_bytes());
    let (values, too_much) = match values {
        Ok(values) => (values, None),
        Err(error) => (Values::default(), Some(error)),
    };
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let language = values.get("lang").or(cookie(headers, LANGUAGE));
    let language = language.and_then(Language::of_code);
    let visit = Visit {
        site: site.clone(),
        visitor: Visitor {
            principal: Principal::new("", [], Default::default()),
            from: peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip()),
        },
        language: language.unwrap_or_else(|| Language::accepted(headers)),
        path: request.uri().path().to_owned(),
        values,
        token: cookie(headers, SESSION).unwrap_or_default().to_owned(),
    };
    let checked = match too_much {
        Some(error) => Err(error),
        None => is_ours(request, &site.config.hosts),
    };
    match checked {
        Ok(()) => Ok(visit),
        Err(error) => {
            let mut visit = Box::new(visit);
            visit.token.clear();
            Err((visit, error))
        }
    }
}

/// Whether a request names this page as a browser of ours would, and comes from a page of ours where it changes
/// something. A name that somebody else lets point here is none of ours.
fn is_ours(request: &Request, hosts: &[String]) -> Result<()> {
    let headers = request.headers();
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let authority = host.and_then(|host| host.parse::<Authority>().ok());
    let Some(authority) = authority.filter(|authority| is_known(authority.host(), hosts)) else {
        return Err(Error::invalid("this page is not served under that name")
            .hint("Use its address, localhost, or a name that http.hosts lists."));
    };
    if [Method::GET, Method::HEAD].contains(request.method()) {
        return Ok(());
    }
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let same = match text(header::ORIGIN) {
        Some(origin) => {
            let origin = origin.parse::<Uri>().ok();
            origin.is_some_and(|origin| origin.authority() == Some(&authority))
        }
        None => text(header::HeaderName::from_static("sec-fetch-site"))
            .is_none_or(|site| site == "same-origin"),
    };
    match same {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::PermissionDenied,
            "the form was sent from another page",
        )
        .hint("Open the page and use its own form.")),
    }
}

fn is_known(host: &str, hosts: &[String]) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
}

/// A browser that looks for a page is sent to the sign-in and back; anything else is told that it is nobody.
fn turned_away(visit: &Visit, request: &Request, error: &Error) -> Response {
    let accepts = request.headers().get(header::ACCEPT);
    let is_page = accepts
        .and_then(|accepted| accepted.to_str().ok())
        .is_some_and(|accepted| accepted.contains("text/html"));
    if request.method() != Method::GET || !is_page {
        return failure::shown(visit, error);
    }
    let wanted = request.uri().path_and_query();
    let wanted = wanted.map_or("/", |wanted| wanted.as_str());
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("next", wanted)
        .finish();
    Redirect::to(&format!("/login?{query}")).into_response()
}

/// A place of this page to go to next; the first page for what is none.
pub(crate) fn local(next: Option<&str>) -> &str {
    let next = next.unwrap_or("/");
    let starts = next.starts_with('/') && !next.starts_with("//") && !next.starts_with("/\\");
    let plain = next
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    match starts && plain {
        true => next,
        false => "/",
    }
}

/// Gives a browser its token, or takes it away.
pub(crate) fn remember(headers: &HeaderMap, response: &mut Response, token: &str, seconds: u64) {
    let forwarded = headers.get("x-forwarded-proto");
    let secure = match forwarded.is_some_and(|scheme| scheme == "https") {
        true => "; Secure",
        false => "",
    };
    // A link from a message opens the page; forms of other pages come without it, and are refused anyway.
    let cookie =
        format!("{SESSION}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    set_cookie(response, &cookie);
}

fn set_cookie(response: &mut Response, cookie: &str) {
    match HeaderValue::from_str(cookie) {
        Ok(value) => {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
        Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter();
    cookies
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(found, value)| (found == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goes_on_to_a_place_of_this_page_alone() {
        for ours in ["/", "/why/12", "/?bu=R%26D"] {
            assert_eq!(local(Some(ours)), ours);
        }
        for other in [
            "",
            "//evil.example",
            "/\\evil",
            "https://evil.example",
            "/a\r\nSet-Cookie: b",
        ] {
            assert_eq!(local(Some(other)), "/", "{other:?}");
        }
    }

    #[test]
    fn names_that_nobody_configured_are_not_ours() {
        let hosts = ["lake.example".to_owned()];
        for ours in ["127.0.0.1", "[::1]", "localhost", "Lake.example"] {
            assert!(is_known(ours, &hosts), "{ours}");
        }
        for other in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
        ] {
            assert!(!is_known(other, &hosts), "{other}");
        }
    }
}
