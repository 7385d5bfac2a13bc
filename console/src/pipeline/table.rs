//! One table: what it is made of, who reads it, its rules, how it is kept up to date and what that took.

use axum::extract::Path;
use axum::response::Response;
use engine::{Error, ErrorKind, Explained, Result, TableInfo, TableName};
use maud::{Markup, html};

use super::{Seen, badge};
use crate::layout::{self, NOTHING, Place, live, note, scrolled};
use crate::rows::in_time;
use crate::visit::Visit;

pub(crate) async fn page(visit: Visit, Path(name): Path<String>) -> Response {
    let body = in_time(&visit, Box::pin(body(&visit, &name))).await;
    layout::answer(&visit, Place::Pipeline, body)
}

async fn body(visit: &Visit, name: &str) -> Result<Markup> {
    let session = visit.site.desk.session(&visit.visitor.principal).await?;
    let seen = Seen::load(visit, &session).await?;
    // One that is not there and one that is not to be seen look alike.
    let table: Option<TableName> = name.parse().ok();
    let table = table.filter(|table| seen.tables().any(|(name, _)| name == table));
    let table = table.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "there is no such table")
            .hint("The pipeline's page lists those that you see.")
    })?;
    let manifest = session.manifest();
    let state = manifest.table(&table)?;
    let whole = seen.is_whole(&table);
    let readers: Vec<&TableName> = seen
        .tables()
        .filter(|(_, state)| state.inputs.contains_key(&table))
        .map(|(name, _)| name)
        .collect();
    let inputs: Vec<&TableName> = state
        .inputs
        .keys()
        .filter(|input| session.info(input).is_some())
        .collect();
    let explained = match table.is_bronze() || table.is_made_by_refresh() {
        true => None,
        false => Some(visit.site.desk.reader().explain(manifest, &table).await?),
    };
    let info = session.info(&table);
    Ok(live(
        "table",
        &html! {
            div.heading {
                h1 { (table) }
                (layout::epoch(visit, manifest))
            }
            @if let Some(description) = &state.description { p lang="fr" { (description) } }
            p {
                (badge(visit, state))
                " " (visit.say("retard : ", "behind: ")) (seen.behind(visit, &table))
            }
            section aria-labelledby="lineage-title" {
                h2 #lineage-title { (visit.say("Lignage", "Lineage")) }
                dl.parts {
                    dt { (visit.say("Lit", "Reads")) } dd { (links(&inputs)) }
                    dt { (visit.say("Lue par", "Read by")) } dd { (links(&readers)) }
                }
            }
            @if let Some(explained) = &explained { (refreshed(visit, explained)) }
            @if let Some(info) = info {
            (columns(visit, info))
            (crate::export::links(visit, &table.to_string()))
        }
            @match &explained {
                Some(explained) if whole => { (rules(visit, explained)) (history(visit, explained)) },
                Some(_) => (note(visit.say(
                    "Règles et historique ne sont montrés que des tables que votre rôle voit en entier.",
                    "Rules and history are shown only of tables that your role sees all of.",
                ))),
                None => {},
            }
            p { a href="/pipeline" { "← Pipeline" } }
        },
    ))
}

fn links(tables: &[&TableName]) -> Markup {
    html! {
        @for (index, table) in tables.iter().enumerate() {
            @if index > 0 { ", " }
            a href={ "/pipeline/" (table) } { (table) }
        }
        @if tables.is_empty() { (NOTHING) }
    }
}

fn refreshed(visit: &Visit, explained: &Explained) -> Markup {
    html! {
        section aria-labelledby="refresh-title" {
            h2 #refresh-title { (visit.say("Mise à jour", "Refresh")) }
            dl.parts {
                dt { (visit.say("Technique", "Technique")) }
                dd lang="en" { strong { (explained.technique.as_str()) } " · " (explained.technique.reason()) }
                @if explained.state.reads_clock {
                    dt { (visit.say("Horloge", "Clock")) }
                    dd { (visit.say("elle lit now(), et change donc avec le temps", "it reads now(), so it changes as time passes")) }
                }
                @if let Some(pause) = explained.at_most_every {
                    dt { (visit.say("Au plus toutes les", "At most every")) }
                    dd { (visit.language.measure(pause.as_secs_f64(), 1)) " s" }
                }
                @if let Some(limit) = explained.age.and_then(|age| age.limit) {
                    dt { (visit.say("Fraîcheur promise", "Freshness promised")) }
                    dd { (limit.written()) }
                }
            }
        }
    }
}

fn columns(visit: &Visit, info: &TableInfo) -> Markup {
    let caption = visit.say("Colonnes que vous voyez", "Columns that you see");
    let table = html! {
        table {
            caption { (caption) }
            thead { tr {
                th scope="col" { (visit.say("Colonne", "Column")) }
                th scope="col" { "Type" }
                th scope="col" { (visit.say("Note", "Note")) }
            } }
            tbody {
                @for field in info.arrow.fields() {
                    tr {
                        th scope="row" {
                            (field.name())
                            @if info.key.contains(field.name()) { " " span.badge.plain { (visit.say("clé", "key")) } }
                        }
                        td.type { code { (engine::sql_type_name(field.data_type())) } }
                        td {
                            @if info.masked.contains(field.name()) { span.badge.plain { (visit.say("masquée", "masked")) } " " }
                            @if let Some(note) = info.column_notes.get(field.name()) { span lang="fr" { (note) } }
                        }
                    }
                }
            }
        }
    };
    html! {
        details {
            summary { (visit.say("Colonnes", "Columns")) }
            (scrolled(caption, &table))
        }
    }
}

fn rules(visit: &Visit, explained: &Explained) -> Markup {
    let states = &explained.state.rules;
    let caption = visit.say(
        "Ce que la table doit respecter",
        "What the table has to obey",
    );
    let table = html! {
        table {
            caption { (caption) }
            thead { tr {
                th scope="col" { (visit.say("Règle", "Rule")) }
                th scope="col" { (visit.say("Condition", "Condition")) }
                th scope="col" { (visit.say("Sinon", "Otherwise")) }
                th.n scope="col" { (visit.say("Écarts", "Violations")) }
            } }
            tbody {
                @for rule in &explained.rules {
                    tr {
                        th scope="row" { (rule.name) }
                        td { code { (rule.rule) } }
                        td { (rule.on_violation) }
                        td.n {
                            @match states.get(&rule.name) {
                                Some(state) => (visit.language.whole(state.violations.into())),
                                None => (NOTHING),
                            }
                        }
                    }
                }
                @if explained.rules.is_empty() {
                    tr { td colspan="4" { (visit.say("Aucune règle.", "No rules.")) } }
                }
            }
        }
    };
    html! {
        section aria-labelledby="rules-title" {
            h2 #rules-title { (visit.say("Règles", "Rules")) }
            (scrolled(caption, &table))
        }
    }
}

fn history(visit: &Visit, explained: &Explained) -> Markup {
    let language = visit.language;
    let caption = visit.say("Les dernières versions", "The last versions");
    let table = html! {
        table {
            caption { (caption) }
            thead { tr {
                th.n scope="col" { (visit.say("Époque", "Epoch")) }
                th scope="col" { (visit.say("Le", "At")) }
                th.n scope="col" { (visit.say("Version", "Version")) }
                th.n scope="col" { (visit.say("Lignes", "Rows")) }
                th.n scope="col" { (visit.say("Écrites", "Written")) }
                th.n scope="col" { (visit.say("Taille", "Size")) }
                th.n scope="col" { (visit.say("Durée", "Took")) }
            } }
            tbody {
                @for past in &explained.past {
                    tr {
                        td.n { (language.whole(past.epoch.into())) }
                        td.nowrap {
                            @if let Some(at) = past.at { (language.moment(at, visit.site.zone)) }
                        }
                        td.n { (language.whole(past.version.into())) }
                        td.n { @match past.rows { Some(rows) => (language.whole(rows.into())), None => (NOTHING) } }
                        @match &past.work {
                            Some(work) => {
                                td.n { (language.whole(work.rows.into())) }
                                td.n { (language.bytes(work.bytes)) }
                                td.n { (language.seconds(work.milliseconds)) }
                            },
                            None => { td.n { (NOTHING) } td.n { (NOTHING) } td.n { (NOTHING) } },
                        }
                    }
                }
            }
        }
    };
    html! {
        section aria-labelledby="history-title" {
            h2 #history-title { (visit.say("Historique", "History")) }
            (scrolled(caption, &table))
        }
    }
}
