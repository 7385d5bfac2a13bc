//! What every page has around it: the document, the way to the other pages, and small parts that several of them use.

use axum::response::{Html, IntoResponse, Response};
use engine::{Manifest, Result};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::door;
use crate::failure;
use crate::language::Language;
use crate::visit::Visit;

/// Nothing but the page's own style and script: no other origin, nothing written inline.
pub(crate) const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

pub(crate) const STYLE: &str = include_str!("../assets/style.css");
pub(crate) const SCRIPT: &str = include_str!("../assets/live.js");

/// The pages one goes to from everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Benefits,
    Pipeline,
    Quality,
    Queries,
}

const PLACES: [Place; 4] = [
    Place::Benefits,
    Place::Pipeline,
    Place::Quality,
    Place::Queries,
];

impl Place {
    fn path(self) -> &'static str {
        match self {
            Self::Benefits => "/",
            Self::Pipeline => "/pipeline",
            Self::Quality => "/quality",
            Self::Queries => "/queries",
        }
    }

    pub(crate) fn name(self, language: Language) -> &'static str {
        match self {
            Self::Benefits => language.say("Avantages", "Benefits"),
            Self::Pipeline => "Pipeline",
            Self::Quality => language.say("Qualité", "Quality"),
            Self::Queries => language.say("Requêtes", "Queries"),
        }
    }
}

/// A page that is there, or what kept it from being.
pub(crate) fn answer(visit: &Visit, place: Place, body: Result<Markup>) -> Response {
    match body {
        Ok(body) => {
            let title = place.name(visit.language);
            document(visit, title, Some(place), &body).into_response()
        }
        Err(error) => failure::shown(visit, &error),
    }
}

pub(crate) fn document(
    visit: &Visit,
    title: &str,
    place: Option<Place>,
    body: &Markup,
) -> Html<String> {
    let stale = visit.say(
        "Cette page n'est plus à jour : rechargez-la.",
        "This page is no longer up to date: load it again.",
    );
    let document = html! {
        (DOCTYPE)
        html lang=(visit.language.code()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · sportlake" }
                link rel="stylesheet" href="/style.css";
                @if visit.is_known() { script src="/live.js" defer {} }
            }
            body {
                a.skip href="#main" { (visit.say("Aller au contenu", "Skip to content")) }
                (header(visit, place))
                main #main tabindex="-1" { (body) }
                footer { p #live-status role="status" data-every=(every_ms(place)) data-stale=(stale) {} }
            }
        }
    };
    Html(document.into_string())
}

/// Time after which an open page is asked for again although there is no new epoch: what runs changes without one.
fn every_ms(place: Option<Place>) -> u32 {
    match place {
        Some(Place::Queries) => 5_000,
        _ => 30_000,
    }
}

fn header(visit: &Visit, place: Option<Place>) -> Markup {
    let (other, code) = match visit.language {
        Language::French => ("English", "en"),
        Language::English => ("Français", "fr"),
    };
    let query = visit.values.with("lang", Some(code));
    // `//elsewhere` is a path of a request and the address of another server in a link.
    let path = door::local(Some(&visit.path));
    html! {
        header.top {
            p.brand { a href="/" { "sportlake" } }
            @if visit.is_known() {
                nav aria-label=(visit.say("Pages", "Pages")) {
                    ul {
                        @for known in PLACES {
                            li {
                                a href=(known.path()) aria-current=[(place == Some(known)).then_some("page")] {
                                    (known.name(visit.language))
                                }
                            }
                        }
                    }
                }
            }
            div.who {
                a href={ (path) "?" (query) } lang=(code) hreflang=(code) { (other) }
                @if !visit.token.is_empty() {
                    form method="post" action="/logout" {
                        (form_token(visit))
                        span.user { (visit.visitor.principal.name()) }
                        button.quiet type="submit" { (visit.say("Se déconnecter", "Sign out")) }
                    }
                }
            }
        }
    }
}

pub(crate) fn form_token(visit: &Visit) -> Markup {
    html! { input type="hidden" name="token" value=(visit.form_token()); }
}

/// Of which epoch a page is, and when that was.
pub(crate) fn epoch(visit: &Visit, manifest: &Manifest) -> Markup {
    html! {
        p.epoch {
            (visit.say("Époque ", "Epoch "))
            strong { (visit.language.whole(manifest.epoch.into())) }
            (visit.say(" du ", " of "))
            time datetime=(manifest.now.to_rfc3339()) {
                (visit.language.moment(manifest.now, visit.site.zone))
            }
        }
    }
}

/// What is not shown, and why.
pub(crate) fn note(text: &str) -> Markup {
    html! { p.note { (text) } }
}

/// Room for a wide table, which is scrolled by itself, by keyboard too.
pub(crate) fn scrolled(label: &str, table: &Markup) -> Markup {
    html! {
        div.scroll role="region" aria-label=(label) tabindex="0" { (table) }
    }
}

/// A part of the page that is brought up to date while somebody looks at it.
pub(crate) fn live(id: &str, body: &Markup) -> Markup {
    html! { div id=(id) data-live="" { (body) } }
}

/// What is not there.
pub(crate) const NOTHING: PreEscaped<&str> = PreEscaped("<span class=\"nothing\">—</span>");
