//! Activities by month and by sport.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use engine::{Result, Session};
use maud::{Markup, html};

use super::filter::Filter;
use super::sheet::{left_out, sheet};
use super::{not_seen, section};
use crate::chart::{self, Column};
use crate::rows::{Columns, Rows, Select};
use crate::visit::Visit;

const TABLE: &str = "gold.activites_par_mois";

const WANTED: [&str; 5] = [
    "mois",
    "type_activite",
    "nb_activites",
    "distance_km",
    "duree_h",
];

/// Columns of the chart; the months before the last so many are in the table alone.
const MOST_MONTHS: usize = 24;

pub(super) async fn activities(
    visit: &Visit,
    session: &Session,
    filter: &Filter,
) -> Result<Markup> {
    let title = visit.say("Activités", "Activities");
    let body = body(visit, session, filter).await?;
    Ok(section("activities", title, &body))
}

async fn body(visit: &Visit, session: &Session, filter: &Filter) -> Result<Markup> {
    let Some(columns) = Columns::of(session, TABLE, &WANTED) else {
        return Ok(not_seen(visit));
    };
    let select = Select::new(&columns.seen, TABLE)
        .filter("mois >=", filter.first())
        .filter("mois <", filter.end())
        .filter("type_activite =", filter.of_sport())
        .then("ORDER BY mois DESC, type_activite LIMIT 2000");
    let rows = select.rows(visit, session).await?;
    let caption = visit.say(
        "Activités par mois et par sport",
        "Activities by month and sport",
    );
    Ok(html! {
        div.columns {
            div { (by_month(visit, &rows)) }
            div { (by_sport(visit, &rows)) }
        }
        details {
            summary { (visit.say("Détail par mois et par sport", "Details by month and sport")) }
            (sheet(visit, caption, &columns.seen, &rows, None, false))
        }
        @if filter.bu.is_some() {
            (crate::layout::note(visit.say(
                "Ces chiffres sont ceux de toutes les BU.",
                "These figures are of all units.",
            )))
        }
        (left_out(visit, &columns, &rows))
    })
}

fn by_month(visit: &Visit, rows: &Rows) -> Markup {
    let mut months: BTreeMap<NaiveDate, i64> = BTreeMap::new();
    for row in 0..rows.len() {
        if let Some(month) = rows.date(row, "mois") {
            let count = rows.number(row, "nb_activites").unwrap_or(0);
            *months.entry(month).or_default() += count;
        }
    }
    let skipped = months.len().saturating_sub(MOST_MONTHS);
    let columns: Vec<Column> = months
        .into_iter()
        .skip(skipped)
        .map(|(month, count)| Column {
            name: visit.language.month(month),
            short: visit.language.short_month(month),
            value: count as f64,
            text: visit.language.whole(count.into()),
        })
        .collect();
    let title = visit.say("Activités par mois", "Activities by month");
    html! {
        figure {
            figcaption { (title) }
            (chart::columns(title, &columns))
            table.unseen {
                caption { (title) }
                thead { tr {
                    th scope="col" { (visit.say("Mois", "Month")) }
                    th scope="col" { (visit.say("Activités", "Activities")) }
                } }
                tbody {
                    @for column in &columns {
                        tr { th scope="row" { (column.name) } td { (column.text) } }
                    }
                }
            }
        }
    }
}

fn by_sport(visit: &Visit, rows: &Rows) -> Markup {
    let mut sports: BTreeMap<&str, (i64, f64)> = BTreeMap::new();
    for row in 0..rows.len() {
        let sport = rows.text(row, "type_activite").unwrap_or("—");
        let (count, distance) = sports.entry(sport).or_default();
        *count += rows.number(row, "nb_activites").unwrap_or(0);
        *distance += rows.float(row, "distance_km").unwrap_or(0.0);
    }
    let mut sports: Vec<(&str, i64, f64)> = sports
        .into_iter()
        .map(|(sport, (count, distance))| (sport, count, distance))
        .collect();
    sports.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let longest = sports.first().map_or(0.0, |first| first.1 as f64);
    html! {
        table {
            caption { (visit.say("Activités par sport", "Activities by sport")) }
            thead {
                tr {
                    th scope="col" { "Sport" }
                    th.n scope="col" { (visit.say("Activités", "Activities")) }
                    th.n scope="col" { "km" }
                    th.wide scope="col" { (visit.say("Part", "Share")) }
                }
            }
            tbody {
                @for (sport, count, distance) in &sports {
                    tr {
                        th scope="row" { (sport) }
                        td.n { (visit.language.whole((*count).into())) }
                        td.n { (visit.language.measure(*distance, 0)) }
                        td.wide { (chart::bar(*count as f64, longest)) }
                    }
                }
                @if sports.is_empty() {
                    tr { td colspan="4" { (visit.say("Aucune activité.", "No activities.")) } }
                }
            }
        }
    }
}
