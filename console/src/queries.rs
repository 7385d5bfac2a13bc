//! Statements that wait, run or ended lately, and the end of one.

use axum::body::Bytes;
use axum::response::{IntoResponse, Redirect, Response};
use engine::{Error, Result};
use maud::{Markup, html};

use crate::failure;
use crate::layout::{self, NOTHING, Place, live, note, scrolled};
use crate::rows::{Rows, Select, in_time};
use crate::visit::Visit;

const WANTED: [&str; 11] = [
    "query_id",
    "user_name",
    "client",
    "state",
    "started_at",
    "queue_seconds",
    "seconds",
    "rows",
    "epoch",
    "error_kind",
    "statement",
];

pub(crate) async fn page(visit: Visit) -> Response {
    let body = in_time(&visit, Box::pin(body(&visit))).await;
    layout::answer(&visit, Place::Queries, body)
}

/// Ends the statement that the form names.
pub(crate) async fn kill(visit: Visit, body: Bytes) -> Response {
    let killed = async {
        let form = visit.form(&body)?;
        let id = form.get("query_id").and_then(|id| id.parse().ok());
        let id = id.ok_or_else(|| Error::invalid("this is no number of a query"))?;
        visit.site.desk.kill(&visit.visitor, id).await
    };
    match killed.await {
        Ok(_) => Redirect::to("/queries").into_response(),
        Err(error) => failure::shown(&visit, &error),
    }
}

async fn body(visit: &Visit) -> Result<Markup> {
    let desk = &visit.site.desk;
    let principal = &visit.visitor.principal;
    let session = desk.session(principal).await?;
    let select = Select::new(&WANTED, "system.queries")
        .then("ORDER BY CASE WHEN state IN ('queued', 'running') THEN 0 ELSE 1 END, started_at DESC LIMIT 50");
    let rows = select.rows(visit, &session).await?;
    let kills_all = desk.reader().may_kill(principal).await?;
    let own = |row: usize| rows.text(row, "user_name") == Some(principal.name());
    let lines = 0..rows.len();
    // The statement that this page is made by says nothing.
    let lines =
        lines.filter(|row| !(own(*row) && rows.text(*row, "statement") == Some(select.text())));
    let lines: Vec<usize> = lines.collect();
    let caption = visit.say(
        "Les 50 dernières requêtes, celles en cours d'abord",
        "The last 50 queries, those that run first",
    );
    let table = html! {
        table {
            caption { (caption) }
            thead { tr {
                th scope="col" { (visit.say("État", "State")) }
                th scope="col" { (visit.say("Qui", "Who")) }
                th scope="col" { (visit.say("Début", "Started")) }
                th.n scope="col" { (visit.say("Attente", "Queued")) }
                th.n scope="col" { (visit.say("Durée", "Took")) }
                th.n scope="col" { (visit.say("Lignes", "Rows")) }
                th scope="col" { (visit.say("Requête", "Statement")) }
            } }
            tbody {
                @for row in &lines { (line(visit, &rows, *row, kills_all || own(*row))) }
                @if lines.is_empty() {
                    tr { td colspan="7" { (visit.say("Aucune requête.", "No queries.")) } }
                }
            }
        }
    };
    Ok(html! {
        div.heading { h1 { (Place::Queries.name(visit.language)) } }
        @if !kills_all {
            (note(visit.say(
                "Vous voyez vos propres requêtes, et celles que votre rôle peut voir.",
                "You see your own queries, and those that your role may see.",
            )))
        }
        (live("queries", &scrolled(caption, &table)))
        p.note { (visit.say(
            "Cette liste se met à jour toutes les cinq secondes ; de ce qu'une page redemande, elle garde le dernier.",
            "This list is brought up to date every five seconds; of what a page asks again, it keeps the last.",
        )) }
    })
}

fn line(visit: &Visit, rows: &Rows, row: usize, may_kill: bool) -> Markup {
    let language = visit.language;
    let state = rows.text(row, "state").unwrap_or_default();
    let id = rows.number(row, "query_id").unwrap_or_default();
    let seconds = |column: &str| {
        let seconds = rows.float(row, column).unwrap_or_default();
        format!("{}\u{a0}s", language.measure(seconds, 3))
    };
    html! {
        tr {
            td.nowrap {
                (told(visit, state))
                @if may_kill && ["queued", "running"].contains(&state) {
                    form.inline method="post" action="/queries/kill" {
                        (layout::form_token(visit))
                        input type="hidden" name="query_id" value=(id);
                        " " button.bad type="submit" aria-label={ (visit.say("Arrêter la requête ", "Kill query ")) (id) } {
                            (visit.say("Arrêter", "Kill"))
                        }
                    }
                }
                @if let Some(error) = rows.text(row, "error_kind") { br; span.soft lang="en" { (error) } }
            }
            td { (rows.text(row, "user_name").unwrap_or_default()) br; span.soft { (rows.text(row, "client").unwrap_or_default()) } }
            td.nowrap { @if let Some(started) = rows.moment(row, "started_at") { (language.moment(started, visit.site.zone)) } }
            td.n { (seconds("queue_seconds")) }
            td.n { (seconds("seconds")) }
            td.n { (language.whole(rows.number(row, "rows").unwrap_or_default().into())) }
            td { @match rows.text(row, "statement") { Some(sql) => code { (sql) }, None => (NOTHING) } }
        }
    }
}

fn told(visit: &Visit, state: &str) -> Markup {
    let name = match state {
        "queued" => visit.say("en attente", "queued"),
        "running" => visit.say("en cours", "running"),
        "finished" => visit.say("terminée", "finished"),
        "failed" => visit.say("échouée", "failed"),
        _ => visit.say("arrêtée", "cancelled"),
    };
    let bad = ["failed", "cancelled"].contains(&state);
    let plain = state == "finished";
    html! { span.badge.bad[bad].plain[plain] { (name) } }
}
