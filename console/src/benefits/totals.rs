//! The programme in figures, and by unit.

use engine::{Result, Session};
use maud::{Markup, html};

use super::filter::Filter;
use super::sheet::{label, left_out, sheet, value};
use super::{not_seen, section};
use crate::chart;
use crate::export;
use crate::rows::{Columns, Rows, Select};
use crate::visit::Visit;

const ALL: [&str; 7] = [
    "montant_primes_euros",
    "nb_primes",
    "jours_bien_etre",
    "nb_bien_etre",
    "nb_salaries",
    "nb_activites",
    "distance_km",
];

const UNIT: [&str; 5] = [
    "bu",
    "nb_salaries",
    "nb_primes",
    "montant_primes_euros",
    "jours_bien_etre",
];

/// The figures of everybody, or of one unit.
pub(super) async fn figures(visit: &Visit, session: &Session, filter: &Filter) -> Result<Markup> {
    let (table, wanted): (&str, &[&str]) = match filter.bu {
        None => ("gold.indicateurs", &ALL),
        Some(_) => ("gold.cout_par_bu", &UNIT),
    };
    let title = visit.say("En bref", "At a glance");
    let Some(columns) = Columns::of(session, table, wanted) else {
        return Ok(section("figures", title, &not_seen(visit)));
    };
    let select = Select::new(&columns.seen, table).filter("bu =", filter.unit());
    let rows = select.then("LIMIT 1").rows(visit, session).await?;
    let order = ALL.iter().filter(|column| columns.has(column));
    let body = html! {
        dl.figures {
            @for column in order {
                div.main[*column == "montant_primes_euros"] {
                    dt { (label(visit, column)) }
                    dd {
                        @match value(visit, &rows, 0, column).filter(|_| !rows.is_empty()) {
                            Some(value) => (value),
                            None => "—",
                        }
                    }
                }
            }
        }
        (left_out(visit, &columns, &rows))
        @if let Some(note) = filter.unnarrowed(visit) { (note) }
    };
    Ok(section("figures", title, &body))
}

/// What each unit costs.
pub(super) async fn units(visit: &Visit, session: &Session, filter: &Filter) -> Result<Markup> {
    let title = visit.say("Par BU", "By unit");
    let Some(columns) = Columns::of(session, "gold.cout_par_bu", &UNIT) else {
        return Ok(section("units", title, &not_seen(visit)));
    };
    let select = Select::new(&columns.seen, "gold.cout_par_bu");
    let select = select.filter("bu =", filter.unit());
    let rows = select
        .then("ORDER BY bu LIMIT 200")
        .rows(visit, session)
        .await?;
    let amounts: Vec<f64> = (0..rows.len()).map(|row| amount(&rows, row)).collect();
    let longest = amounts.iter().copied().fold(0.0, f64::max);
    let bar = |row: usize| chart::bar(amounts[row], longest);
    let heading = visit.say("Part des primes", "Share of bonuses");
    let extra = (longest > 0.0).then_some((heading, &bar as &dyn Fn(usize) -> Markup));
    let caption = visit.say(
        "Primes et jours bien-être par BU",
        "Bonuses and wellness days by unit",
    );
    let body = html! {
        (sheet(visit, caption, &columns.seen, &rows, extra, false))
        (export::links(visit, "gold.cout_par_bu"))
        (left_out(visit, &columns, &rows))
        @if let Some(note) = filter.unnarrowed(visit) { (note) }
    };
    Ok(section("units", title, &body))
}

/// For the length of a bar.
fn amount(rows: &Rows, row: usize) -> f64 {
    let amount = rows.decimal(row, "montant_primes_euros");
    amount.map_or(0.0, |(units, scale)| {
        units as f64 / 10_f64.powi(scale.cast_signed())
    })
}
