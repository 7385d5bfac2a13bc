//! The ranking, everybody by themselves, and what is to be checked.

use engine::{Result, Session};
use maud::{Markup, html};

use super::filter::Filter;
use super::sheet::{left_out, sheet};
use super::{not_seen, section, sees};
use crate::export;
use crate::layout::note;
use crate::rows::{Columns, Select, table_of};
use crate::visit::Visit;

const ELIGIBILITY: [&str; 8] = [
    "employee_id",
    "bu",
    "prime_sportive",
    "montant_prime_euros",
    "distance_km",
    "nb_activites",
    "jours_bien_etre",
    "declaration_correcte",
];
const RANKING: [&str; 5] = ["rang", "employee_id", "bu", "nb_activites", "distance_km"];
const ANOMALY: [&str; 6] = [
    "employee_id",
    "bu",
    "moyen_deplacement",
    "distance_km",
    "limite_km",
    "motif",
];

/// Anomalies that are shown; a file has all.
const MOST_ANOMALIES: usize = 100;

/// People on one page of the list.
const PAGE: usize = 25;

/// The columns of a table of people as they are selected, with the names of those whose names are seen too.
struct Named {
    columns: Vec<&'static str>,
    selected: Vec<&'static str>,
    from: &'static str,
}

impl Named {
    fn of(
        session: &Session,
        seen: &[&'static str],
        table: &'static str,
        joined: &'static str,
    ) -> Self {
        let employees = table_of(session, "silver.employees");
        let names = employees.is_some_and(|info| {
            let seen = |column: &&str| {
                info.arrow.field_with_name(column).is_ok() && !info.masked.contains(*column)
            };
            ["id", "nom", "prenom"].iter().all(seen)
        });
        if !names || !seen.contains(&"employee_id") {
            return Self {
                columns: seen.to_vec(),
                selected: seen.to_vec(),
                from: table,
            };
        }
        let mut columns = Vec::new();
        let mut selected = Vec::new();
        for column in seen {
            columns.push(*column);
            selected.push(match *column {
                "bu" => "t.bu",
                other => other,
            });
            if *column == "employee_id" {
                columns.extend(["prenom", "nom"]);
                selected.extend(["prenom", "nom"]);
            }
        }
        Self {
            columns,
            selected,
            from: joined,
        }
    }

    /// How the unit is called in a condition.
    fn unit(&self) -> &'static str {
        match self.selected.contains(&"t.bu") {
            true => "t.bu =",
            false => "bu =",
        }
    }
}

pub(super) async fn ranking(visit: &Visit, session: &Session, filter: &Filter) -> Result<Markup> {
    let title = visit.say("Classement", "Ranking");
    let Some(columns) = Columns::of(session, "gold.classement", &RANKING) else {
        return Ok(section("ranking", title, &not_seen(visit)));
    };
    let joined = "gold.classement t LEFT JOIN silver.employees e ON e.id = t.employee_id";
    let named = Named::of(session, &columns.seen, "gold.classement", joined);
    let order = match columns.has("rang") {
        true => "ORDER BY rang LIMIT 10",
        false => "LIMIT 10",
    };
    let select = Select::new(&named.selected, named.from).filter(named.unit(), filter.unit());
    let rows = select.then(order).rows(visit, session).await?;
    let caption = visit.say("Les dix premiers", "The first ten");
    let links = sees(session, "gold.eligibilites");
    let body = html! {
        (sheet(visit, caption, &named.columns, &rows, None, links))
        (left_out(visit, &columns, &rows))
        @if let Some(note) = filter.unnarrowed(visit) { (note) }
    };
    Ok(section("ranking", title, &body))
}

pub(super) async fn anomalies(visit: &Visit, session: &Session, filter: &Filter) -> Result<Markup> {
    let title = visit.say("Anomalies", "Anomalies");
    let Some(columns) = Columns::of(session, "gold.anomalies_declaration", &ANOMALY) else {
        return Ok(section("anomalies", title, &not_seen(visit)));
    };
    let select = Select::new(&columns.seen, "gold.anomalies_declaration");
    let select = select.filter("bu =", filter.unit());
    let rows = select
        .then("ORDER BY employee_id")
        .page(MOST_ANOMALIES + 1, 0)
        .rows(visit, session)
        .await?;
    let caption = visit.say("Déclarations à vérifier", "Declarations to check");
    let links = sees(session, "gold.eligibilites");
    let body = html! {
        (sheet(visit, caption, &columns.seen, &rows.first(MOST_ANOMALIES), None, links))
        @if rows.len() > MOST_ANOMALIES {
            (note(visit.say(
                "Les 100 premières ; un fichier les a toutes.",
                "The first 100; a file has all of them.",
            )))
        }
        (export::links(visit, "gold.anomalies_declaration"))
        (left_out(visit, &columns, &rows))
    };
    Ok(section("anomalies", title, &body))
}

pub(super) async fn list(visit: &Visit, session: &Session, filter: &Filter) -> Result<Markup> {
    let title = visit.say("Salariés", "Employees");
    let Some(columns) = Columns::of(session, "gold.eligibilites", &ELIGIBILITY) else {
        return Ok(section("people", title, &not_seen(visit)));
    };
    let joined = "gold.eligibilites t LEFT JOIN silver.employees e ON e.id = t.employee_id";
    let named = Named::of(session, &columns.seen, "gold.eligibilites", joined);
    let select = Select::new(&named.selected, named.from).filter(named.unit(), filter.unit());
    let select = select.then("ORDER BY employee_id");
    // One more than is shown tells whether there are more.
    let select = select.page(PAGE + 1, filter.page * PAGE);
    let rows = select.rows(visit, session).await?;
    let caption = visit.say(
        "Prime, activités et jours bien-être par salarié ; le numéro mène à l'explication",
        "Bonus, activities and wellness days by employee; the number leads to the explanation",
    );
    let body = html! {
        form.jump method="get" action="/why" {
            label for="id" { (visit.say("Numéro de salarié", "Employee number")) }
            input #id name="id" type="text" inputmode="numeric" pattern="[0-9]{1,18}" required;
            button type="submit" { (visit.say("Pourquoi ?", "Why?")) }
        }
        (sheet(visit, caption, &named.columns, &rows.first(PAGE), None, true))
        (pages(visit, filter, rows.len() > PAGE))
        (export::links(visit, "gold.eligibilites"))
        (left_out(visit, &columns, &rows))
        @if let Some(note) = filter.unnarrowed(visit) { (note) }
    };
    Ok(section("people", title, &body))
}

/// The way to the pages of the list before and after this one.
fn pages(visit: &Visit, filter: &Filter, more: bool) -> Markup {
    let page = |number: usize| visit.values.with("page", Some(&number.to_string()));
    html! {
        @if filter.page > 0 || more {
            nav.pages aria-label=(visit.say("Pages de la liste", "Pages of the list")) {
                @if filter.page > 0 {
                    a rel="prev" href={ "/?" (page(filter.page)) "#people" } { (visit.say("← Précédents", "← Previous")) }
                }
                span { "Page " (filter.page + 1) }
                @if more {
                    a rel="next" href={ "/?" (page(filter.page + 2)) "#people" } { (visit.say("Suivants →", "Next →")) }
                }
            }
        }
    }
}
