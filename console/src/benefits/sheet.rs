//! Tables of the page: known columns, each with its name in the reader's language and its own way to be written.

use maud::{Markup, Render, html};

use crate::layout::{NOTHING, note};
use crate::rows::{Columns, Rows, yes};
use crate::visit::Visit;

/// What a column is called.
pub(super) fn label<'a>(visit: &Visit, column: &'a str) -> &'a str {
    match column {
        "rang" => visit.say("Rang", "Rank"),
        "employee_id" => visit.say("Salarié", "Employee"),
        "nom" => visit.say("Nom", "Last name"),
        "prenom" => visit.say("Prénom", "First name"),
        "bu" => "BU",
        "prime_sportive" => visit.say("Prime", "Bonus"),
        "montant_prime_euros" => visit.say("Montant", "Amount"),
        "montant_primes_euros" => visit.say("Primes", "Bonuses"),
        "distance_km" => visit.say("Distance (km)", "Distance (km)"),
        "limite_km" => visit.say("Limite (km)", "Limit (km)"),
        "duree_h" => visit.say("Durée (h)", "Duration (h)"),
        "nb_activites" => visit.say("Activités", "Activities"),
        "jours_bien_etre" => visit.say("Jours bien-être", "Wellness days"),
        "nb_bien_etre" => visit.say(
            "Salariés avec jours bien-être",
            "Employees with wellness days",
        ),
        "declaration_correcte" => visit.say("Déclaration correcte", "Declaration correct"),
        "nb_salaries" => visit.say("Salariés", "Employees"),
        "nb_primes" => visit.say("Primes accordées", "Bonuses granted"),
        "moyen_deplacement" => visit.say("Moyen de déplacement", "Means of transport"),
        "motif" => visit.say("Motif", "Reason"),
        "mois" => visit.say("Mois", "Month"),
        "type_activite" => "Sport",
        other => other,
    }
}

/// Whether a column is of numbers, which stand at the right.
fn is_number(column: &str) -> bool {
    column.starts_with("nb_")
        || column.starts_with("montant_")
        || [
            "rang",
            "distance_km",
            "limite_km",
            "duree_h",
            "jours_bien_etre",
        ]
        .contains(&column)
}

/// One value as its column is written.
pub(super) fn value(visit: &Visit, rows: &Rows, row: usize, column: &str) -> Option<String> {
    let language = visit.language;
    if column.starts_with("montant_") {
        let amount = rows.decimal(row, column);
        return amount.map(|(units, scale)| language.euros(units, scale));
    }
    match column {
        "mois" => rows.date(row, column).map(|month| language.month(month)),
        "distance_km" | "limite_km" | "duree_h" => rows
            .float(row, column)
            .map(|value| language.measure(value, 1)),
        "prime_sportive" | "declaration_correcte" => rows
            .truth(row, column)
            .map(|truth| yes(language, truth).to_owned()),
        "employee_id" => rows.number(row, column).map(|number| number.to_string()),
        _ => match rows.number(row, column) {
            Some(number) => Some(language.whole(number.into())),
            None => rows.text(row, column).map(str::to_owned),
        },
    }
}

/// Rows under a caption. `extra` is one cell more a row, with its heading.
pub(super) fn sheet(
    visit: &Visit,
    caption: &str,
    columns: &[&str],
    rows: &Rows,
    extra: Option<(&str, &dyn Fn(usize) -> Markup)>,
    links: bool,
) -> Markup {
    let table = html! {
        table {
            caption { (caption) }
            thead {
                tr {
                    @for column in columns {
                        th.n[is_number(column)] scope="col" { (label(visit, column)) }
                    }
                    @if let Some((heading, _)) = &extra { th.wide scope="col" { (heading) } }
                }
            }
            tbody {
                @for row in 0..rows.len() {
                    tr {
                        @for column in columns {
                            td.n[is_number(column)] { (cell(visit, rows, row, column, links)) }
                        }
                        @if let Some((_, cell)) = &extra { td.wide { (cell(row)) } }
                    }
                }
                @if rows.is_empty() {
                    tr { td colspan=(columns.len() + usize::from(extra.is_some())) {
                        (visit.say("Aucune ligne.", "No rows."))
                    } }
                }
            }
        }
    };
    crate::layout::scrolled(caption, &table)
}

fn cell(visit: &Visit, rows: &Rows, row: usize, column: &str, links: bool) -> Markup {
    let Some(text) = value(visit, rows, row, column) else {
        return NOTHING.render();
    };
    match (column, links) {
        ("employee_id", true) => html! {
            a href={ "/why/" (text) } aria-label={ (visit.say("Pourquoi, salarié ", "Why, employee ")) (text) } { (text) }
        },
        _ => html! { (text) },
    }
}

/// The columns that were left out or masked, said.
pub(super) fn left_out(visit: &Visit, columns: &Columns, rows: &Rows) -> Markup {
    let missing: Vec<&str> = columns
        .left_out
        .iter()
        .copied()
        .filter(|column| rows.lacks(column))
        .collect();
    if missing.is_empty() {
        return html! {};
    }
    let names: Vec<&str> = missing.iter().map(|column| label(visit, column)).collect();
    let names = names.join(", ");
    let text = match visit.language {
        crate::language::Language::French => {
            format!("Votre rôle ne voit pas, ou pas en clair : {names}.")
        }
        crate::language::Language::English => {
            format!("Your role does not see, or not as they are: {names}.")
        }
    };
    note(&text)
}
