//! The tables of the lake: what they are made of, how fresh they are and what they take.

mod graph;
mod table;

use std::collections::BTreeMap;

use axum::response::Response;
use chrono::{DateTime, Utc};
use engine::{Age, Freshness, Manifest, Result, Session, Size, TableName, TableState};
use maud::{Markup, Render, html};

pub(crate) use self::table::page as table_page;
use crate::layout::{self, NOTHING, Place, live, note, scrolled};
use crate::rows::in_time;
use crate::visit::Visit;

pub(crate) async fn page(visit: Visit) -> Response {
    let body = in_time(&visit, Box::pin(body(&visit))).await;
    layout::answer(&visit, Place::Pipeline, body)
}

/// The tables that a visitor sees, of those that the epoch holds.
struct Seen<'a> {
    session: &'a Session,
    ages: BTreeMap<TableName, Age>,
    sizes: BTreeMap<TableName, Size>,
    now: DateTime<Utc>,
}

impl<'a> Seen<'a> {
    async fn load(visit: &Visit, session: &'a Session) -> Result<Self> {
        let reader = visit.site.desk.reader();
        let manifest = session.manifest();
        Ok(Self {
            ages: reader.ages(manifest).await?,
            sizes: reader.sizes(manifest).await?,
            now: (visit.site.clock)(),
            session,
        })
    }

    fn manifest(&self) -> &Manifest {
        self.session.manifest()
    }

    fn tables(&self) -> impl Iterator<Item = (&TableName, &TableState)> {
        let tables = self.session.manifest().tables.iter();
        tables.filter(|(name, _)| self.session.info(name).is_some())
    }

    /// Whether numbers about the table's rows and files may be told: only to who sees all of them.
    fn is_whole(&self, name: &TableName) -> bool {
        self.session.info(name).is_some_and(|info| info.whole)
    }

    /// `12 s`, and whether that is more than was promised.
    fn behind(&self, visit: &Visit, name: &TableName) -> Markup {
        let Some(age) = self.ages.get(name) else {
            return NOTHING.render();
        };
        if age.behind_since.is_none() {
            return html! { (visit.say("à jour", "up to date")) };
        }
        let behind = visit.language.duration(age.behind(self.now).num_seconds());
        html! {
            (behind)
            @if age.is_late(self.now) { " " span.badge.bad { (visit.say("en retard", "late")) } }
        }
    }
}

async fn body(visit: &Visit) -> Result<Markup> {
    let session = visit.site.desk.session(&visit.visitor.principal).await?;
    let seen = Seen::load(visit, &session).await?;
    let standing = visit.site.desk.reader().standing().await?;
    let is_operator = visit.visitor.principal.is_operator();
    Ok(html! {
        div.heading {
            h1 { "Pipeline" }
            (live("epoch", &layout::epoch(visit, seen.manifest())))
        }
        @if is_operator {
            (live("standing", &html! {
                @for line in standing.notes() { div.notice { p lang="en" { (line) } } }
            }))
        }
        @if seen.tables().next().is_none() {
            (note(visit.say("Votre rôle ne voit aucune table.", "Your role sees no table.")))
        } @else {
            (live("graph", &graph::drawn(visit, &seen)))
            (live("tables", &tables(visit, &seen)))
        }
        @if is_operator { p { a href="/metrics" { (visit.say("Métriques", "Metrics")) } } }
    })
}

fn tables(visit: &Visit, seen: &Seen<'_>) -> Markup {
    let caption = visit.say("Les tables, une par ligne", "The tables, one a row");
    let table = html! {
        table {
            caption { (caption) }
            thead { tr {
                th scope="col" { "Table" }
                th scope="col" { (visit.say("État", "State")) }
                th.n scope="col" { (visit.say("Retard", "Behind")) }
                th.n scope="col" { (visit.say("Lignes", "Rows")) }
                th.n scope="col" { (visit.say("Taille", "Size")) }
                th.n scope="col" { (visit.say("Depuis l'époque", "Since epoch")) }
                th.n scope="col" { (visit.say("Dernier calcul", "Last computation")) }
            } }
            tbody {
                @for (name, state) in seen.tables() { (line(visit, seen, name, state)) }
                @for (name, unbuilt) in &seen.manifest().unbuilt {
                    @if visit.visitor.principal.is_operator() {
                        tr {
                            th scope="row" { (name) }
                            td colspan="6" { span.badge.bad { (visit.say("pas construite", "unbuilt")) } " " span lang="en" { (unbuilt.reason) } }
                        }
                    }
                }
            }
        }
    };
    html! {
        section aria-labelledby="tables-title" {
            h2 #tables-title { "Tables" }
            (scrolled(caption, &table))
            @if seen.tables().any(|(name, _)| !seen.is_whole(name)) {
                (note(visit.say(
                    "Lignes, taille et coût ne sont montrés que des tables que votre rôle voit en entier.",
                    "Rows, size and cost are shown only of tables that your role sees all of.",
                )))
            }
        }
    }
}

fn line(visit: &Visit, seen: &Seen<'_>, name: &TableName, state: &TableState) -> Markup {
    let language = visit.language;
    let whole = seen.is_whole(name);
    let size = seen.sizes.get(name).filter(|_| whole);
    let work = state.work.as_ref().filter(|_| whole);
    html! {
        tr {
            th scope="row" { a href={ "/pipeline/" (name) } { (name) } }
            td { (badge(visit, state)) }
            td.n { (seen.behind(visit, name)) }
            td.n { @match state.rows.filter(|_| whole) { Some(rows) => (language.whole(rows.into())), None => (NOTHING) } }
            td.n { @match size { Some(size) => (language.bytes(size.bytes)), None => (NOTHING) } }
            td.n { (language.whole(state.since.into())) }
            td.n { @match work { Some(work) => (language.seconds(work.milliseconds)), None => (NOTHING) } }
        }
    }
}

fn badge(visit: &Visit, state: &TableState) -> Markup {
    match (state.state, &state.reason) {
        (Freshness::Fresh, _) => html! { span.badge { (visit.say("fraîche", "fresh")) } },
        (Freshness::Held, reason) => html! {
            span.badge.bad { (visit.say("retenue", "held")) }
            @if let Some(reason) = reason { " " span lang="en" { (reason) } }
        },
    }
}
