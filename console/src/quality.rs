//! Rules and their history, rows kept aside, dead letters, and taking them in again.

mod replay;

use axum::response::Response;
use engine::{Result, RuleState, Session, TableName};
use maud::{Markup, html};

pub(crate) use self::replay::{letters, quarantine};
use crate::layout::{self, Place, live, note, scrolled};
use crate::rows::{Columns, Select, in_time, table_of};
use crate::visit::Visit;

const RESULTS: [&str; 7] = [
    "checked_at",
    "table_name",
    "rule",
    "outcome",
    "violations",
    "rows",
    "epoch",
];

const LETTERS: [&str; 6] = [
    "table_name",
    "_partition",
    "_offset",
    "_timestamp",
    "attempt",
    "error",
];

/// Rows of one quarantine that are shown.
const MOST_ASIDE: usize = 50;

pub(crate) async fn page(visit: Visit) -> Response {
    let body = in_time(&visit, Box::pin(body(&visit))).await;
    layout::answer(&visit, Place::Quality, body)
}

async fn body(visit: &Visit) -> Result<Markup> {
    let desk = &visit.site.desk;
    let principal = &visit.visitor.principal;
    let session = desk.session(principal).await?;
    let replays = desk.reader().may_replay(principal).await?;
    let (history, aside, letters) = futures::try_join!(
        history(visit, &session),
        aside(visit, &session, replays),
        dead_letters(visit, &session, replays),
    )?;
    Ok(html! {
        div.heading {
            h1 { (Place::Quality.name(visit.language)) }
            (live("epoch", &layout::epoch(visit, session.manifest())))
        }
        @match visit.values.get("done") {
            Some("quarantine") => div.notice role="status" { (visit.say(
                "Les tables ont été refaites à partir de tous leurs événements.",
                "The tables were made anew from all their events.",
            )) },
            Some("letters") => div.notice role="status" { (visit.say(
                "Les messages rejetés ont été repris.",
                "The dead letters were taken in again.",
            )) },
            _ => {},
        }
        (live("rules", &rules(visit, &session)))
        (live("aside", &aside))
        (live("letters", &letters))
        (live("history", &history))
    })
}

fn section(id: &str, title: &str, body: &Markup) -> Markup {
    html! {
        section aria-labelledby={ (id) "-title" } {
            h2 id={ (id) "-title" } { (title) }
            (body)
        }
    }
}

fn not_seen(visit: &Visit) -> Markup {
    note(visit.say(
        "Votre rôle ne voit rien ici.",
        "Your role sees nothing here.",
    ))
}

/// The rules as the epoch judged them, of the tables that are seen whole.
fn rules(visit: &Visit, session: &Session) -> Markup {
    let language = visit.language;
    let tables = session.manifest().tables.iter();
    let tables = tables.filter(|(name, _)| session.info(name).is_some_and(|info| info.whole));
    let rules: Vec<(&TableName, &String, &RuleState)> = tables
        .flat_map(|(name, state)| {
            state
                .rules
                .iter()
                .map(move |(rule, state)| (name, rule, state))
        })
        .collect();
    let title = visit.say("Règles", "Rules");
    if rules.is_empty() {
        return section("rules", title, &not_seen(visit));
    }
    let broken = rules
        .iter()
        .filter(|(_, _, state)| state.violations > 0)
        .count();
    let caption = visit.say("Les règles à cette époque", "The rules at this epoch");
    let table = html! {
        table {
            caption { (caption) }
            thead { tr {
                th scope="col" { "Table" }
                th scope="col" { (visit.say("Règle", "Rule")) }
                th scope="col" { (visit.say("Condition", "Condition")) }
                th scope="col" { (visit.say("Sinon", "Otherwise")) }
                th.n scope="col" { (visit.say("Écarts", "Violations")) }
            } }
            tbody {
                @for (name, rule, state) in &rules {
                    tr {
                        th scope="row" { a href={ "/pipeline/" (name) } { (name) } }
                        td { (rule) }
                        td { code { (state.definition) } }
                        td { (state.action) }
                        td.n {
                            @if state.violations > 0 { span.badge.bad { (language.whole(state.violations.into())) } }
                            @else { "0" }
                        }
                    }
                }
            }
        }
    };
    section(
        "rules",
        title,
        &html! {
            p {
                strong { (language.whole(rules.len() as i128)) } (visit.say(" règles, ", " rules, "))
                strong { (language.whole(broken as i128)) } (visit.say(" avec des écarts.", " with violations."))
            }
            (scrolled(caption, &table))
        },
    )
}

async fn history(visit: &Visit, session: &Session) -> Result<Markup> {
    let title = visit.say("Historique", "History");
    let Some(columns) = Columns::of(session, "quality.results", &RESULTS) else {
        return Ok(section("history", title, &not_seen(visit)));
    };
    let select = Select::new(&columns.seen, "quality.results")
        .then("WHERE outcome <> 'passed' ORDER BY epoch DESC, table_name, rule LIMIT 50");
    let rows = select.rows(visit, session).await?;
    let caption = visit.say(
        "Les 50 derniers contrôles qui ont trouvé quelque chose",
        "The last 50 checks that found something",
    );
    let body = match rows.is_empty() {
        true => note(visit.say(
            "Aucun contrôle n'a rien trouvé.",
            "No check found anything.",
        )),
        false => scrolled(caption, &rows.table(visit, caption)?),
    };
    Ok(section("history", title, &body))
}

/// What rules keep out of their tables, of the quarantines that are seen.
async fn aside(visit: &Visit, session: &Session, replays: bool) -> Result<Markup> {
    let title = visit.say("Quarantaine", "Quarantine");
    let tables = session.manifest().tables.iter();
    let seen: Vec<(&TableName, u64)> = tables
        .filter(|(name, _)| session.info(&name.quarantine()).is_some())
        .map(|(name, state)| (name, state.kept_out()))
        .collect();
    if seen.is_empty() {
        return Ok(section("aside", title, &not_seen(visit)));
    }
    let mut parts = Vec::new();
    for (name, _) in seen.iter().filter(|(_, count)| *count > 0) {
        let rows = Select::all(&name.quarantine())
            .then("LIMIT 50")
            .rows(visit, session)
            .await?;
        let caption = name.quarantine().to_string();
        parts.push((
            *name,
            scrolled(&caption, &rows.table(visit, &caption)?),
            rows.len(),
        ));
    }
    Ok(section(
        "aside",
        title,
        &html! {
            @for (name, table, count) in &parts {
                h3 { (name) }
                (table)
                @if *count == MOST_ASIDE { (note(visit.say("Les 50 premières lignes.", "The first 50 rows."))) }
                @if replays {
                    (replay::form(visit, "/quality/quarantine", Some(name), visit.say(
                        "Refaire cette table à partir de tous ses événements",
                        "Make this table anew from all its events",
                    )))
                }
            }
            @if parts.is_empty() { (note(visit.say("Aucune ligne n'est mise de côté.", "No row is kept aside."))) }
            @else if !replays {
                (note(visit.say(
                    "Votre rôle ne peut pas les reprendre (GRANT REPLAY).",
                    "Your role may not take them in again (GRANT REPLAY).",
                )))
            }
        },
    ))
}

async fn dead_letters(visit: &Visit, session: &Session, replays: bool) -> Result<Markup> {
    let title = visit.say("Messages rejetés", "Dead letters");
    let Some(columns) = Columns::of(session, "bronze.dead_letters", &LETTERS) else {
        return Ok(section("letters", title, &not_seen(visit)));
    };
    let select = Select::new(&columns.seen, "bronze.dead_letters")
        .then("ORDER BY table_name, _partition, _offset LIMIT 50");
    let rows = select.rows(visit, session).await?;
    let caption = visit.say(
        "Messages qui ne sont pas des événements",
        "Messages that are no change events",
    );
    let body = match rows.is_empty() {
        true => note(visit.say("Aucun message n'est rejeté.", "There is no dead letter.")),
        false => html! {
            (scrolled(caption, &rows.table(visit, caption)?))
            @if rows.len() == MOST_ASIDE { (note(visit.say("Les 50 premières lignes.", "The first 50 rows."))) }
            @if replays {
                (replay::form(visit, "/quality/letters", None, visit.say(
                    "Reprendre ces messages",
                    "Take these messages in again",
                )))
            }
        },
    };
    Ok(section(
        "letters",
        title,
        &html! {
            (body)
            @if !replays && table_of(session, "bronze.dead_letters").is_some() {
                (note(visit.say(
                    "Votre rôle ne peut pas les reprendre (GRANT REPLAY).",
                    "Your role may not take them in again (GRANT REPLAY).",
                )))
            }
        },
    ))
}
