//! Why somebody's bonus and days are what they are: the row, how its columns come about, and what it rests on.

use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use engine::{Error, ErrorKind, Formula, Input, Result, RuleVerdict, Verdict, Why};
use maud::{Markup, html};

use crate::failure;
use crate::layout::{self, Place, live, note};
use crate::rows::{Rows, in_time, yes};
use crate::visit::Visit;

const TABLE: &str = "gold.eligibilites";

/// Digits of the longest number of an employee.
const DIGITS: usize = 18;

/// From the form with a number to its page.
pub(crate) async fn asked(visit: Visit) -> Response {
    match employee(visit.values.get("id").unwrap_or_default()) {
        Ok(id) => Redirect::to(&format!("/why/{id}")).into_response(),
        Err(error) => failure::shown(&visit, &error),
    }
}

pub(crate) async fn page(visit: Visit, Path(id): Path<String>) -> Response {
    let body = in_time(&visit, Box::pin(body(&visit, &id))).await;
    layout::answer(&visit, Place::Benefits, body)
}

fn employee(text: &str) -> Result<i64> {
    let digits = text.len() <= DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.ok_or_else(|| {
        Error::invalid("this is no employee number").hint("A number has digits only, as 42.")
    })
}

async fn body(visit: &Visit, id: &str) -> Result<Markup> {
    let id = employee(id)?;
    let _place = visit.site.explanations.acquire().await;
    let session = visit.site.desk.session(&visit.visitor.principal).await?;
    let _hold = visit.site.desk.reader().hold(session.epoch());
    let why = session.why(&TABLE.parse()?, &[id.to_string()]).await;
    let why = why.map_err(|error| match error.kind() {
        // Whether somebody is not there or not to be seen looks alike.
        ErrorKind::NotFound => Error::new(
            ErrorKind::NotFound,
            format!("nothing is known of employee {id}"),
        )
        .hint("Check the number; your role may not see this person."),
        _ => error,
    })?;
    let row = why.row.clone().map(Rows);
    let (inputs, kept_out) = (tables(visit, &why.inputs)?, tables(visit, &why.kept_out)?);
    Ok(live(
        "why",
        &html! {
            div.heading {
                h1 { (visit.say("Pourquoi, salarié ", "Why, employee ")) (id) }
                (layout::epoch(visit, session.manifest()))
            }
            @if let Some(description) = &why.description { p lang="fr" { (description) } }
            @if let Some(reason) = &why.held {
                div.notice.bad { (visit.say("Table retenue : ", "The table is held: ")) span lang="en" { (reason) } }
            }
            @if why.partial {
                (note(visit.say(
                    "Votre rôle ne voit pas tout ce dont cette ligne dépend : le reste n'est pas montré.",
                    "Your role does not see all that this row rests on: the rest is not shown.",
                )))
            }
            section aria-labelledby="row-title" {
                h2 #row-title { (visit.say("Résultat", "Result")) }
                @match row {
                    Some(row) => (layout::scrolled(visit.say("Résultat", "Result"), &row.table(visit, TABLE)?)),
                    None => p { (visit.say("Il n'y a pas de ligne.", "There is no row.")) },
                }
            }
            (formulas(visit, &why))
            (rules(visit, &why.rules))
            @if !why.kept_out.is_empty() {
                section aria-labelledby="kept-out-title" {
                    h2 #kept-out-title { (visit.say("Écarté par une règle", "Kept out by a rule")) }
                    (kept_out)
                }
            }
            section aria-labelledby="inputs-title" {
                h2 #inputs-title { (visit.say("Ce dont il dépend", "What it rests on")) }
                (inputs)
                @if why.inputs.is_empty() { (note(visit.say("Rien que vous puissiez voir.", "Nothing that you see."))) }
            }
            p { a href="/" { (visit.say("← Avantages", "← Benefits")) } }
        },
    ))
}

fn tables(visit: &Visit, inputs: &[Input]) -> Result<Markup> {
    let mut tables = Vec::new();
    for input in inputs {
        let more = visit.say(", et d'autres", ", and more");
        let caption = format!(
            "{} ({}{})",
            input.table,
            visit.language.whole(input.rows.num_rows() as i128),
            if input.more { more } else { "" }
        );
        let end = input.is_end.then(|| {
            visit.say(
                "Ce dont ces lignes sont faites n'est plus gardé.",
                "What these rows were made from is no longer kept.",
            )
        });
        let table = Rows(input.rows.clone()).table(visit, &caption)?;
        let messages = match &input.messages {
            Some(messages) => {
                Some(Rows(messages.clone()).table(visit, visit.say("Messages", "Messages"))?)
            }
            None => None,
        };
        tables.push((caption, table, messages, end));
    }
    Ok(html! {
        @for (caption, table, messages, end) in &tables {
            (layout::scrolled(caption, table))
            @if let Some(end) = end { (note(end)) }
            @if let Some(messages) = messages {
                details {
                    summary { (visit.say("Messages d'où viennent ces lignes", "Messages that these rows came in")) }
                    (layout::scrolled(visit.say("Messages", "Messages"), messages))
                }
            }
        }
    })
}

fn formulas(visit: &Visit, why: &Why) -> Markup {
    html! {
        @if !why.formulas.is_empty() {
            section aria-labelledby="formulas-title" {
                h2 #formulas-title { (visit.say("Comment on le calcule", "How it is computed")) }
                @for formula in &why.formulas { (of_formula(formula)) }
            }
        }
    }
}

fn of_formula(formula: &Formula) -> Markup {
    html! {
        details.formula open[formula.column.starts_with("montant")] {
            summary { code { (formula.column) } }
            pre tabindex="0" { code { (formula.expression) } }
            @if !formula.parts.is_empty() {
                dl.parts {
                    @for part in &formula.parts {
                        dt { code { (part.column) } }
                        dd {
                            @if let Some(value) = &part.value { strong { (value) } " " }
                            @if let Some(expression) = &part.expression { code { (expression) } }
                            @if part.value.is_none() && part.expression.is_none() { "—" }
                        }
                    }
                }
            }
        }
    }
}

fn rules(visit: &Visit, rules: &[RuleVerdict]) -> Markup {
    let table = html! {
                table {
                    caption { (visit.say("Règles de la table, jugées sur cette ligne", "Rules of the table, judged on this row")) }
                    thead { tr {
                        th scope="col" { (visit.say("Règle", "Rule")) }
                        th scope="col" { (visit.say("Condition", "Condition")) }
                        th scope="col" { (visit.say("Respectée", "Holds")) }
                    } }
                    tbody {
                        @for rule in rules {
                            tr {
                                th scope="row" { (rule.name) }
                                td { code { (rule.definition) } }
                                td {
                                    @match rule.verdict {
                                        Verdict::Holds => (yes(visit.language, true)),
                                        Verdict::Broken => (yes(visit.language, false)),
                                        Verdict::NotComputable => (visit.say("ne se calcule pas", "cannot be computed")),
                                        Verdict::NoRow => (visit.say("pas de ligne", "no row")),
                                        Verdict::WholeTable => (visit.say("porte sur la table", "about the table")),
                                    }
                                }
                            }
                        }
                    }
                }
    };
    html! {
        @if !rules.is_empty() {
            section aria-labelledby="rules-title" {
                h2 #rules-title { (visit.say("Règles", "Rules")) }
                (layout::scrolled(visit.say("Règles", "Rules"), &table))
            }
        }
    }
}
