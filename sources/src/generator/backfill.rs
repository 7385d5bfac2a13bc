use std::borrow::Cow;

use chrono::{DateTime, Datelike, Duration, NaiveDate, Timelike, Utc};
use rand::Rng;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};

use super::activity::{Activity, Session, corrected, instant, local};
use super::chaos::{Chaos, Share};
use super::roster::{Athlete, Roster, Stream, rng};

/// Everything that decides a first load, with the roster: the same stamp gives the same steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) seed: u64,
    pub(super) days: u32,
    /// When the load began: no activity ends later.
    pub(super) until: DateTime<Utc>,
    /// The id of the first activity.
    pub(super) first_id: i64,
    /// Fingerprint of the roster.
    pub(super) roster: u32,
    /// Local microseconds: activities that start no later were loaded under another stamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<i64>,
    /// Of the activities those that are corrected, and deleted, after some time.
    #[serde(default = "usual_updates")]
    pub(super) updates: Share,
    #[serde(default = "usual_deletes")]
    pub(super) deletes: Share,
}

/// One change of the first load.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub(super) at: DateTime<Utc>,
    pub(super) before: Option<Activity>,
    pub(super) after: Option<Activity>,
}

/// Loads that do not tell their shares had the usual ones.
fn usual_updates() -> Share {
    Chaos::default().updates
}

fn usual_deletes() -> Share {
    Chaos::default().deletes
}

/// The steps in the order in which they happened. Ids rise with it; an activity is created, corrected and deleted once at most.
pub(super) fn steps(stamp: &Stamp, roster: &Roster) -> Vec<Step> {
    let mut drafts: Vec<Draft> = roster
        .athletes
        .iter()
        .flat_map(|athlete| drafts(stamp, athlete))
        .filter(|draft| {
            let start = draft.activity.date_debut.and_utc().timestamp_micros();
            stamp.after.is_none_or(|after| start > after)
        })
        .collect();
    drafts.sort_by_key(|draft| (draft.created, draft.activity.employee_id));
    let mut steps = Vec::with_capacity(drafts.len() + drafts.len() / 16);
    for (id, draft) in (stamp.first_id..).zip(drafts) {
        draft.play(id, stamp.until, &mut steps);
    }
    steps.sort_by_key(|step| step.at);
    steps
}

/// An activity that has no id yet, and what becomes of it.
struct Draft {
    created: DateTime<Utc>,
    activity: Activity,
    corrected: Option<(DateTime<Utc>, Activity)>,
    deleted: Option<DateTime<Utc>>,
}

impl Draft {
    fn play(mut self, id: i64, until: DateTime<Utc>, steps: &mut Vec<Step>) {
        self.activity.id = id;
        let mut current = self.activity.clone();
        steps.push(Step {
            at: self.created,
            before: None,
            after: Some(self.activity),
        });
        if let Some((at, mut corrected)) = self.corrected.filter(|(at, _)| *at < until) {
            corrected.id = id;
            steps.push(Step {
                at,
                before: Some(current),
                after: Some(corrected.clone()),
            });
            current = corrected;
        }
        if let Some(at) = self.deleted.filter(|at| *at < until) {
            steps.push(Step {
                at,
                before: Some(current),
                after: None,
            });
        }
    }
}

fn drafts(stamp: &Stamp, athlete: &Athlete) -> Vec<Draft> {
    let mut rng = rng(stamp.seed, athlete.id, Stream::Backfill);
    let last = local(stamp.until).date();
    let first = last - Duration::days(i64::from(stamp.days));
    first
        .iter_days()
        .take_while(|day| *day <= last)
        .filter_map(|day| draft(stamp, athlete, day, &mut rng))
        .collect()
}

fn draft(stamp: &Stamp, athlete: &Athlete, day: NaiveDate, rng: &mut SmallRng) -> Option<Draft> {
    let discipline = &athlete.disciplines[rng.random_range(0..athlete.disciplines.len())];
    let weekday = usize::try_from(day.weekday().num_days_from_monday()).unwrap_or(0);
    let kept = athlete.habits[weekday] * discipline.season.weight(day.month());
    if !rng.random_bool(kept.clamp(0.0, 1.0)) {
        return None;
    }
    let session = Session::draw(discipline, athlete.fitness, rng);
    let hour = match (weekday, athlete.hour) {
        (5 | 6, _) => rng.random_range(8..=15),
        // Who has a long session takes the evening.
        (_, 12) if session.duree_s <= 5400 => 12,
        (_, 12) => 18,
        (_, hour) => hour,
    };
    let minute = rng.random_range(0..60);
    let start = day.and_hms_opt(hour, minute, rng.random_range(0..60))?;
    let start = instant(start);
    let created =
        start + Duration::seconds(session.duree_s) + Duration::seconds(rng.random_range(30..1800));
    let activity = Activity {
        id: 0,
        employee_id: athlete.id,
        date_debut: local(start).with_nanosecond(0)?,
        type_activite: Cow::Borrowed(discipline.name),
        distance_m: session.distance_m,
        duree_s: session.duree_s,
        commentaire: session.commentaire,
    };
    let later = |rng: &mut SmallRng| created + Duration::minutes(rng.random_range(10..2880));
    let corrected = rng
        .random_bool(stamp.updates.fraction())
        .then(|| (later(rng), corrected(&activity, rng)));
    let deleted = rng
        .random_bool(stamp.deletes.fraction())
        .then(|| later(rng) + Duration::days(3));
    (created < stamp.until).then_some(Draft {
        created,
        activity,
        corrected,
        deleted,
    })
}

#[cfg(test)]
mod tests;
