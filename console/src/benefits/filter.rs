//! What a visitor chooses to see: a unit, a span of months, a sport.

use chrono::{Months, NaiveDate};
use engine::{Error, Result, Session};
use maud::{Markup, html};

use super::sees;
use crate::form::Values;
use crate::layout::note;
use crate::rows::{Rows, Select, Value};
use crate::visit::Visit;

/// Bytes of the name of a unit or a sport.
const LONGEST: usize = 200;

/// Pages of people that one can turn to.
const LAST_PAGE: usize = 10_000;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) bu: Option<String>,
    pub(super) sport: Option<String>,
    /// First days of the first and the last month.
    pub(super) from: Option<NaiveDate>,
    pub(super) to: Option<NaiveDate>,
    /// Of the list of people, from 0.
    pub(super) page: usize,
}

impl Filter {
    /// # Errors
    /// `InvalidRequest` for a month that is none, a span that ends before it begins, and a name that is too long.
    pub(super) fn read(values: &Values) -> Result<Self> {
        let name = |name: &str| match values.get(name) {
            Some(value) if value.len() > LONGEST => Err(Error::invalid(format!(
                "the filter \"{name}\" is longer than {LONGEST} characters"
            ))
            .hint("Choose one of the list.")),
            value => Ok(value.map(str::to_owned)),
        };
        let filter = Self {
            bu: name("bu")?,
            sport: name("sport")?,
            from: month("from", values)?,
            to: month("to", values)?,
            page: page(values)?,
        };
        match (filter.from, filter.to) {
            (Some(from), Some(to)) if to < from => {
                Err(Error::invalid("the last month is before the first one")
                    .hint("Exchange the two."))
            }
            _ => Ok(filter),
        }
    }

    pub(super) fn unit(&self) -> Option<Value> {
        self.bu.clone().map(Value::Text)
    }

    pub(super) fn of_sport(&self) -> Option<Value> {
        self.sport.clone().map(Value::Text)
    }

    pub(super) fn first(&self) -> Option<Value> {
        self.from.map(Value::Date)
    }

    /// The month after the last one, which is no more in the span.
    pub(super) fn end(&self) -> Option<Value> {
        let end = self.to.and_then(|to| to.checked_add_months(Months::new(1)));
        end.map(Value::Date)
    }

    /// Of figures that neither months nor sports narrow, where some are chosen.
    pub(super) fn unnarrowed(&self, visit: &Visit) -> Option<Markup> {
        let is_narrowed = self.sport.is_some() || self.from.is_some() || self.to.is_some();
        is_narrowed.then(|| {
            note(visit.say(
                "Ces chiffres sont ceux de tous les mois et de tous les sports.",
                "These figures are of all months and all sports.",
            ))
        })
    }

    pub(super) fn form(&self, visit: &Visit, choices: &Choices) -> Markup {
        let month = |date: Option<NaiveDate>| date.map(|date| date.format("%Y-%m").to_string());
        let all = visit.say("Toutes", "All");
        html! {
            form.filters method="get" action="/" aria-label=(visit.say("Filtres", "Filters")) {
                (choice("bu", "BU", all, &choices.units, self.bu.as_deref()))
                div {
                    label for="from" { (visit.say("Du mois", "From month")) }
                    input #from name="from" type="month" placeholder="2026-01" value=[month(self.from)];
                }
                div {
                    label for="to" { (visit.say("Au mois", "To month")) }
                    input #to name="to" type="month" placeholder="2026-12" value=[month(self.to)];
                }
                (choice("sport", "Sport", visit.say("Tous", "All"), &choices.sports, self.sport.as_deref()))
                div.actions {
                    button type="submit" { (visit.say("Filtrer", "Filter")) }
                    @if *self != Self::default() {
                        a href="/" { (visit.say("Tout voir", "Show all")) }
                    }
                }
            }
        }
    }
}

fn choice(name: &str, label: &str, all: &str, choices: &[String], chosen: Option<&str>) -> Markup {
    let unknown = chosen.filter(|chosen| !choices.iter().any(|choice| choice == chosen));
    html! {
        div {
            label for=(name) { (label) }
            select id=(name) name=(name) {
                option value="" { (all) }
                @for value in choices.iter().map(String::as_str).chain(unknown) {
                    option value=(value) selected[chosen == Some(value)] { (value) }
                }
            }
        }
    }
}

fn month(name: &str, values: &Values) -> Result<Option<NaiveDate>> {
    let Some(text) = values.get(name) else {
        return Ok(None);
    };
    let digits = text.split_once('-');
    let parsed = digits.and_then(|(year, month)| {
        let legal = year.len() == 4 && month.len() == 2;
        NaiveDate::from_ymd_opt(year.parse().ok().filter(|_| legal)?, month.parse().ok()?, 1)
    });
    match parsed {
        Some(first) => Ok(Some(first)),
        None => Err(Error::invalid(format!("the filter \"{name}\" is no month"))
            .hint("Write it as 2026-11.")),
    }
}

fn page(values: &Values) -> Result<usize> {
    let Some(text) = values.get("page") else {
        return Ok(0);
    };
    let number: Option<usize> = text.parse().ok();
    match number.filter(|number| (1..=LAST_PAGE).contains(number)) {
        Some(number) => Ok(number - 1),
        None => Err(Error::invalid("there is no such page").hint("Pages are numbered from 1.")),
    }
}

/// What there is to choose from, of what the visitor sees.
#[derive(Debug, Clone, Default)]
pub(super) struct Choices {
    units: Vec<String>,
    sports: Vec<String>,
}

impl Choices {
    pub(super) async fn load(visit: &Visit, session: &Session) -> Result<Self> {
        let units = Select::new(&["bu"], "gold.cout_par_bu").then("ORDER BY bu LIMIT 200");
        let sports = Select::new(&["DISTINCT type_activite"], "gold.activites_par_mois")
            .then("ORDER BY type_activite LIMIT 200");
        let load = async |select: Select, table: &str| match sees(session, table) {
            true => select.rows(visit, session).await.map(|rows| names(&rows)),
            false => Ok(Vec::new()),
        };
        let (units, sports) = futures::try_join!(
            load(units, "gold.cout_par_bu"),
            load(sports, "gold.activites_par_mois"),
        )?;
        Ok(Self { units, sports })
    }
}

fn names(rows: &Rows) -> Vec<String> {
    let schema = rows.0.schema();
    let column = schema.fields().first().map(|field| field.name().clone());
    let column = column.unwrap_or_default();
    let names = (0..rows.len()).filter_map(|row| rows.text(row, &column));
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(query: &str) -> Result<Filter> {
        Filter::read(&Values::read(query.as_bytes())?)
    }

    #[test]
    fn a_filter_is_read_strictly() {
        let read = filter("bu=R%26D&from=2026-01&to=2026-01&sport=&page=2").expect("legal");
        assert_eq!(read.bu.as_deref(), Some("R&D"));
        assert_eq!((read.sport, read.page), (None, 1));
        assert_eq!(read.from, NaiveDate::from_ymd_opt(2026, 1, 1));
        for wrong in [
            "from=2026-13",
            "from=26-01",
            "to=2026-1",
            "to=' OR 1=1 --",
            "from=2026-02&to=2026-01",
            "page=0",
            "page=99999999999999999999",
            &format!("bu={}", "x".repeat(LONGEST + 1)),
        ] {
            let refused = filter(wrong).expect_err(wrong);
            assert_eq!(refused.kind(), engine::ErrorKind::InvalidRequest);
            assert!(refused.hint_text().is_some(), "{wrong}");
        }
    }
}
