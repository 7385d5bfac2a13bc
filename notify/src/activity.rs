use changes::BACKFILL_COMPLETE;
use chrono::{DateTime, LocalResult, TimeZone, Utc};
use chrono_tz::Tz;
use serde::Deserialize;
use serde_json::Value;

/// What Debezium writes for a value that a change left as it was.
const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// Below that, a time in the source is milliseconds: microseconds of 1973 are no sport of this company.
const LEAST_MICROSECONDS: i64 = 100_000_000_000_000;

/// A row of `sport_activities`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Activity {
    pub(crate) id: i64,
    pub(crate) employee_id: i64,
    /// As the source writes it: microseconds of the local clock.
    pub(crate) date_debut: Option<i64>,
    pub(crate) sport: String,
    pub(crate) distance_m: Option<f64>,
    pub(crate) duree_s: Option<f64>,
    pub(crate) comment: Option<String>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    employee_id: Value,
    #[serde(default)]
    date_debut: Value,
    #[serde(default)]
    type_activite: Value,
    #[serde(default)]
    distance_m: Value,
    #[serde(default)]
    duree_s: Value,
    #[serde(default)]
    commentaire: Value,
}

impl Activity {
    /// Reads the image of a row; `None` when it is not whole enough to be told.
    pub(crate) fn parse(after: &str) -> Option<Self> {
        let row: Row = serde_json::from_str(after).ok()?;
        Some(Self {
            id: integer(&row.id)?,
            employee_id: integer(&row.employee_id)?,
            date_debut: integer(&row.date_debut).map(|time| {
                if time.abs() < LEAST_MICROSECONDS {
                    time.saturating_mul(1000)
                } else {
                    time
                }
            }),
            sport: text(&row.type_activite)?,
            distance_m: number(&row.distance_m),
            duree_s: number(&row.duree_s),
            comment: text(&row.commentaire),
        })
    }

    /// Whether the row is the mark at the end of the first load.
    pub(crate) fn is_mark(&self) -> bool {
        self.sport == BACKFILL_COMPLETE
    }

    /// When it began. In the hour that spring skips, clocks show one hour more.
    pub(crate) fn began(&self, timezone: Tz) -> Option<DateTime<Utc>> {
        let local = DateTime::from_timestamp_micros(self.date_debut?)?.naive_utc();
        match timezone.from_local_datetime(&local) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.to_utc()),
            LocalResult::None => Some(local.and_utc()),
        }
    }
}

fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn number(value: &Value) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    number.is_finite().then_some(number)
}

fn text(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    (text != UNAVAILABLE).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_sources_write_them() {
        let row = r#"{"id":7,"employee_id":"59019","date_debut":1762069333500000,"type_activite":"Running","distance_m":"10840.00","duree_s":2760,"commentaire":null}"#;
        let activity = Activity::parse(row).expect("whole");
        assert_eq!((activity.id, activity.employee_id), (7, 59_019));
        assert_eq!(activity.distance_m, Some(10_840.0));
        assert_eq!(activity.comment, None);
        let began = activity.began(chrono_tz::Europe::Paris);
        assert_eq!(
            began.map(|at| at.to_rfc3339()),
            Some("2025-11-02T06:42:13.500+00:00".to_owned())
        );
        let short = row.replace("1762069333500000", "1762069333500");
        assert_eq!(Activity::parse(&short), Some(activity));
    }

    #[test]
    fn what_is_not_whole_is_no_activity() {
        for row in [
            r#"{"id":null,"employee_id":1,"type_activite":"Running"}"#,
            r#"{"id":1,"employee_id":1,"type_activite":"__debezium_unavailable_value"}"#,
            r#"{"id":1,"employee_id":[],"type_activite":"Running"}"#,
            "{}",
        ] {
            assert_eq!(Activity::parse(row), None, "{row}");
        }
    }
}
