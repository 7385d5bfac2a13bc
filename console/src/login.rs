//! Signing in and out.

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use engine::{Error, ErrorKind, Result};
use maud::{Markup, html};

use crate::visit::Visit;
use crate::{door, failure, layout};

/// The form; whoever needs none goes on.
pub(crate) async fn asked(visit: Visit) -> Response {
    let next = door::local(visit.values.get("next")).to_owned();
    if visit.is_known() {
        return Redirect::to(&next).into_response();
    }
    form(&visit, &next, None)
}

pub(crate) async fn sent(visit: Visit, headers: HeaderMap, body: Bytes) -> Response {
    let mut visitor = visit.clone();
    // Whatever cookie came along, the form was made for nobody.
    visitor.token.clear();
    let form_values = match visitor.form(&body) {
        Ok(values) => values,
        Err(error) => return failure::shown(&visitor, &error),
    };
    let next = door::local(form_values.get("next")).to_owned();
    let site = &visit.site;
    let lifetime = site.config.lifetime();
    let user = form_values.get("user").unwrap_or_default();
    let password = form_values.raw("password").unwrap_or_default().to_owned();
    match site
        .desk
        .sign_in(user, password, visit.visitor.from, lifetime)
        .await
    {
        Ok(token) => {
            let mut response = Redirect::to(&next).into_response();
            door::remember(&headers, &mut response, &token, lifetime.as_secs());
            response
        }
        Err(error) => form(&visitor, &next, Some(&error)),
    }
}

pub(crate) async fn left(visit: Visit, headers: HeaderMap, body: Bytes) -> Response {
    let leaving: Result<_> = visit.form(&body);
    if let Err(error) = leaving {
        return failure::shown(&visit, &error);
    }
    visit.site.desk.sign_out(&visit.token);
    let mut response = Redirect::to("/login").into_response();
    door::remember(&headers, &mut response, "", 0);
    response
}

fn form(visit: &Visit, next: &str, refused: Option<&Error>) -> Response {
    let status = refused.map_or(StatusCode::OK, |error| failure::code(error.kind()));
    let title = visit.say("Connexion", "Sign in");
    let body = html! {
        div.sign-in {
            h1 { (title) }
            @if let Some(error) = refused { (refusal(visit, error)) }
            form method="post" action="/login" {
                (layout::form_token(visit))
                input type="hidden" name="next" value=(next);
                label for="user" { (visit.say("Nom d'utilisateur", "User name")) }
                input #user name="user" type="text" autocomplete="username" autocapitalize="none" required maxlength="128";
                label for="password" { (visit.say("Mot de passe", "Password")) }
                input #password name="password" type="password" autocomplete="current-password" required maxlength="1024";
                button type="submit" { (visit.say("Se connecter", "Sign in")) }
            }
        }
    };
    (status, layout::document(visit, title, None, &body)).into_response()
}

/// In the same words for a user that does not exist and a password that is wrong.
fn refusal(visit: &Visit, error: &Error) -> Markup {
    if error.kind() != ErrorKind::Unauthenticated {
        return failure::told(error);
    }
    let waits = error
        .hint_text()
        .filter(|hint| hint.starts_with("Try again in"));
    html! {
        div.notice.bad role="alert" {
            @match waits {
                None => p { (visit.say(
                    "Nom d'utilisateur ou mot de passe incorrect.",
                    "The user name or the password is wrong.",
                )) },
                Some(hint) => {
                    p { (visit.say("Trop de mots de passe incorrects.", "Too many wrong passwords.")) }
                    p lang="en" { (hint) }
                },
            }
        }
    }
}
