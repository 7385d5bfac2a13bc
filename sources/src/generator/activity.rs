use std::borrow::Cow;

use changes::{BACKFILL_COMPLETE, Change, Op};
use chrono::{DateTime, Duration, LocalResult, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Europe::Paris;
use rand::Rng;
use rand::seq::IndexedRandom;
use serde::{Serialize, Serializer};

use super::discipline::{Discipline, GENERAL_COMMENTS};
use crate::changelog::Row;

/// A row of `sport_activities`, which serialises as Debezium writes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Activity {
    pub(super) id: i64,
    pub(super) employee_id: i64,
    /// Local time in Paris, as the application records it.
    #[serde(serialize_with = "micros")]
    pub(super) date_debut: NaiveDateTime,
    pub(super) type_activite: Cow<'static, str>,
    pub(super) distance_m: Option<f64>,
    pub(super) duree_s: i64,
    pub(super) commentaire: Option<Cow<'static, str>>,
}

impl Activity {
    /// The row that marks the end of the first load.
    pub(super) fn backfill_complete(id: i64, now: DateTime<Utc>) -> Self {
        Self {
            id,
            employee_id: 0,
            date_debut: local(now),
            type_activite: Cow::Borrowed(BACKFILL_COMPLETE),
            distance_m: None,
            duree_s: 0,
            commentaire: None,
        }
    }

    /// The activity that a row describes, when the row is whole.
    pub(super) fn from_row(row: &Row) -> Option<Self> {
        let text = |column: &str| Some(Cow::Owned(row.get(column)?.as_str()?.to_owned()));
        let number = |column: &str| row.get(column)?.as_i64();
        let micros = number("date_debut")?;
        Some(Self {
            id: number("id")?,
            employee_id: number("employee_id")?,
            date_debut: DateTime::from_timestamp_micros(micros)?.naive_utc(),
            type_activite: text("type_activite")?,
            distance_m: row.get("distance_m").and_then(serde_json::Value::as_f64),
            duree_s: number("duree_s")?,
            commentaire: text("commentaire"),
        })
    }
}

/// An activity as its employee ends it: how long, how far, what was said.
pub(super) struct Session {
    pub(super) duree_s: i64,
    pub(super) distance_m: Option<f64>,
    pub(super) commentaire: Option<Cow<'static, str>>,
}

impl Session {
    /// A session of somebody of that fitness, from 0 to 1.
    pub(super) fn draw(discipline: &Discipline, fitness: f64, rng: &mut impl Rng) -> Self {
        let (shortest, longest) = discipline.minutes;
        let duree_s = i64::from(rng.random_range(shortest * 60..=longest * 60));
        let distance_m = discipline.speed.map(|(slowest, fastest)| {
            let form = (fitness + rng.random_range(-0.12..0.12)).clamp(0.0, 1.0);
            distance_m(slowest + (fastest - slowest) * form, duree_s)
        });
        let commentaire = rng.random_bool(0.3).then(|| comment(discipline, rng));
        Self {
            duree_s,
            distance_m,
            commentaire,
        }
    }
}

/// A later correction of an activity: a comment, or the distance as another watch measured it.
pub(super) fn corrected(activity: &Activity, rng: &mut impl Rng) -> Activity {
    let mut corrected = activity.clone();
    match activity.distance_m {
        Some(distance) if rng.random_bool(0.4) => {
            let factor = 1.0 + rng.random_range(0.01..0.04);
            corrected.distance_m = Some((distance * factor / 10.0).round() * 10.0);
        }
        _ if activity.commentaire.is_some() => corrected.commentaire = None,
        _ => {
            let comment = GENERAL_COMMENTS.choose(rng).copied().unwrap_or_default();
            corrected.commentaire = Some(Cow::Borrowed(comment));
        }
    }
    corrected
}

/// The row before and after a change as an event.
pub(super) fn change<'a>(
    (before, after): (Option<&'a Activity>, Option<&'a Activity>),
    lsn: i64,
    now: DateTime<Utc>,
) -> Change<'a, Activity> {
    Change {
        op: match (before, after) {
            (None, _) => Op::Create,
            (Some(_), Some(_)) => Op::Update,
            (Some(_), None) => Op::Delete,
        },
        before,
        after,
        lsn,
        ts_us: now.timestamp_micros(),
    }
}

fn micros<S: Serializer>(time: &NaiveDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(time.and_utc().timestamp_micros())
}

pub(super) fn local(instant: DateTime<Utc>) -> NaiveDateTime {
    instant.with_timezone(&Paris).naive_local()
}

/// The instant of a local time. In the hour that spring skips, clocks show one hour more; of the hour that autumn repeats,
/// the first is meant.
pub(super) fn instant(local: NaiveDateTime) -> DateTime<Utc> {
    match Paris.from_local_datetime(&local) {
        LocalResult::Single(instant) | LocalResult::Ambiguous(instant, _) => instant.to_utc(),
        LocalResult::None => {
            let later = Paris.from_local_datetime(&(local + Duration::hours(1)));
            later
                .earliest()
                .map_or(local.and_utc(), |instant| instant.to_utc())
        }
    }
}

fn comment(discipline: &Discipline, rng: &mut impl Rng) -> Cow<'static, str> {
    let own = discipline.comments.choose(rng).copied();
    let general = GENERAL_COMMENTS.choose(rng).copied().unwrap_or_default();
    let comment = own.filter(|_| rng.random_bool(0.6)).unwrap_or(general);
    Cow::Borrowed(comment)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a session is some hours at most"
)]
fn distance_m(speed: f64, duree_s: i64) -> f64 {
    (speed * duree_s as f64 / 10.0).round() * 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_back() {
        let now = DateTime::from_timestamp(1_790_000_000, 0).expect("a time");
        let activity = Activity {
            distance_m: Some(8420.0),
            commentaire: Some(Cow::Borrowed("À refaire")),
            ..Activity::backfill_complete(7, now)
        };
        let row = |activity: &Activity| -> Row {
            let text = serde_json::to_string(activity).expect("JSON");
            serde_json::from_str(&text).expect("a row")
        };
        assert_eq!(Activity::from_row(&row(&activity)), Some(activity));
        let marker = row(&Activity::backfill_complete(7, now));
        assert_eq!(
            marker["date_debut"],
            1_790_000_000_000_000_i64 + 7_200_000_000
        );
    }

    #[test]
    fn times_that_clocks_skip_or_repeat_are_instants() {
        let at =
            |text: &str| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").expect("a time");
        let skipped = instant(at("2026-03-29 02:30"));
        assert_eq!(local(skipped), at("2026-03-29 03:30"));
        let repeated = instant(at("2026-10-25 02:30"));
        assert_eq!(local(repeated), at("2026-10-25 02:30"));
        assert_eq!(repeated.to_rfc3339(), "2026-10-25T00:30:00+00:00");
    }
}
