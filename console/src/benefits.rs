//! What the programme gives: bonuses, wellness days, activities, ranking and anomalies, of what a visitor may see.

mod activities;
mod filter;
mod people;
mod sheet;
mod totals;

use axum::response::{IntoResponse, Redirect, Response};
use engine::{Result, Session};
use maud::{Markup, html};

use self::filter::{Choices, Filter};
use crate::layout::{self, Place};
use crate::rows::in_time;
use crate::visit::Visit;

/// The tables that the page tells of. A project without them has another first page.
const TABLES: [&str; 6] = [
    "gold.indicateurs",
    "gold.cout_par_bu",
    "gold.eligibilites",
    "gold.activites_par_mois",
    "gold.classement",
    "gold.anomalies_declaration",
];

pub(crate) async fn page(visit: Visit) -> Response {
    let made = in_time(&visit, Box::pin(body(&visit))).await;
    match made {
        Ok(None) => Redirect::to("/pipeline").into_response(),
        Ok(Some(body)) => layout::answer(&visit, Place::Benefits, Ok(body)),
        Err(error) => layout::answer(&visit, Place::Benefits, Err(error)),
    }
}

/// Nothing for a project that is about something else.
async fn body(visit: &Visit) -> Result<Option<Markup>> {
    let filter = Filter::read(&visit.values)?;
    let session = visit.site.desk.session(&visit.visitor.principal).await?;
    let manifest = session.manifest();
    let is_there = |table: &str| {
        let mut names = manifest.tables.keys().chain(manifest.unbuilt.keys());
        names.any(|name| name.to_string() == table)
    };
    if !TABLES.iter().any(|table| is_there(table)) {
        return Ok(None);
    }
    let (choices, figures, units, activities, ranking, people, anomalies) = futures::try_join!(
        Choices::load(visit, &session),
        totals::figures(visit, &session, &filter),
        totals::units(visit, &session, &filter),
        activities::activities(visit, &session, &filter),
        people::ranking(visit, &session, &filter),
        people::list(visit, &session, &filter),
        people::anomalies(visit, &session, &filter),
    )?;
    Ok(Some(html! {
        div.heading {
            h1 { (Place::Benefits.name(visit.language)) }
            (layout::live("epoch", &layout::epoch(visit, manifest)))
        }
        (filter.form(visit, &choices))
        (layout::live("figures", &figures))
        (layout::live("units", &units))
        (layout::live("activities", &activities))
        (layout::live("ranking", &ranking))
        (layout::live("anomalies", &anomalies))
        (layout::live("people", &people))
    }))
}

/// Whether a visitor sees a table at all.
fn sees(session: &Session, table: &str) -> bool {
    crate::rows::table_of(session, table).is_some()
}

/// A part of the page with its heading; what a role does not see is said and not shown.
fn section(id: &'static str, title: &str, body: &Markup) -> Markup {
    html! {
        section aria-labelledby={ (id) "-title" } {
            h2 id={ (id) "-title" } { (title) }
            (body)
        }
    }
}

fn not_seen(visit: &Visit) -> Markup {
    layout::note(visit.say(
        "Votre rôle ne voit pas ces chiffres.",
        "Your role does not see these figures.",
    ))
}
