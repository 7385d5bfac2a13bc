use changes::BACKFILL_COMPLETE;
use chrono::{DateTime, Datelike, LocalResult, TimeZone, Utc};
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
    /// Reads the image of a row; `None` when it is not whole enough to be told, or of no time that a clock shows.
    pub(crate) fn parse(after: &str) -> Option<Self> {
        let row: Row = serde_json::from_str(after).ok()?;
        Some(Self {
            id: integer(&row.id)?,
            employee_id: integer(&row.employee_id)?,
            date_debut: match integer(&row.date_debut) {
                Some(time) => Some(microseconds(time)?),
                None => None,
            },
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

    /// What stays of an activity that a source repeats, whatever else is corrected; another one may have its id after the
    /// source was made anew.
    pub(crate) fn identity(&self) -> i64 {
        let start = self.date_debut.unwrap_or_default();
        [self.id, self.employee_id, start]
            .into_iter()
            .fold(0, mixed)
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

/// A time of the source, in microseconds; nothing for what is no time of a living.
fn microseconds(time: i64) -> Option<i64> {
    let is_milliseconds = time.unsigned_abs() < LEAST_MICROSECONDS.unsigned_abs();
    let micros = if is_milliseconds {
        time.checked_mul(1000)?
    } else {
        time
    };
    let at = DateTime::from_timestamp_micros(micros)?;
    is_sane(at).then_some(micros)
}

/// Whether a clock may have shown it.
pub(crate) fn is_sane(at: DateTime<Utc>) -> bool {
    (1900..=9999).contains(&at.year())
}

/// The finish of Steele, Lea and Flood's SplitMix, over both.
fn mixed(one: i64, other: i64) -> i64 {
    let mut z = one.cast_unsigned().rotate_left(23) ^ other.cast_unsigned();
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)).cast_signed()
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
    fn an_activity_is_known_by_its_id_its_athlete_and_its_start() {
        let row = |id: i64, employee: i64, start: i64, sport: &str| {
            let row = format!(
                r#"{{"id":{id},"employee_id":{employee},"date_debut":{start},"type_activite":"{sport}"}}"#
            );
            Activity::parse(&row).expect("whole").identity()
        };
        let one = row(7, 1, 1_762_069_333_500_000, "Boxe");
        assert_eq!(one, row(7, 1, 1_762_069_333_500_000, "Judo"), "corrected");
        for other in [
            row(8, 1, 1_762_069_333_500_000, "Boxe"),
            row(7, 2, 1_762_069_333_500_000, "Boxe"),
            row(7, 1, 1_762_069_333_500_001, "Boxe"),
            row(1, 7, 1_762_069_333_500_000, "Boxe"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn what_is_not_whole_is_no_activity() {
        for row in [
            r#"{"id":null,"employee_id":1,"type_activite":"Running"}"#,
            r#"{"id":1,"employee_id":1,"type_activite":"__debezium_unavailable_value"}"#,
            r#"{"id":1,"employee_id":[],"type_activite":"Running"}"#,
            "{}",
            r#"{"id":1,"employee_id":1,"type_activite":"Boxe","date_debut":-9223372036854775808}"#,
            r#"{"id":1,"employee_id":1,"type_activite":"Boxe","date_debut":9223372036854775807}"#,
            r#"{"id":1,"employee_id":1,"type_activite":"Boxe","date_debut":"-9000000000000000000"}"#,
            r#"{"id":1,"employee_id":1,"type_activite":"Boxe","date_debut":900000000000000000}"#,
        ] {
            assert_eq!(Activity::parse(row), None, "{row}");
        }
    }
}
