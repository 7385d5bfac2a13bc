use std::borrow::Cow;
use std::collections::VecDeque;

use chrono::{DateTime, Duration, Timelike, Utc};
use rand::Rng;
use rand::rngs::SmallRng;

use super::activity::{Activity, Session, corrected, local};
use super::chaos::Chaos;
use super::roster::{Athlete, Roster, Stream, rng};

/// Activities that may still be corrected or deleted, at most.
const MAX_RECENT: usize = 1000;

/// Draws what happens next.
pub(super) struct Live {
    rng: SmallRng,
    recent: VecDeque<Activity>,
    next_id: i64,
    /// Shares of the changes that correct, and delete.
    updates: f64,
    deletes: f64,
}

impl Live {
    pub(super) fn new(seed: u64, chaos: &Chaos, next_id: i64, recent: Vec<Activity>) -> Self {
        let mut recent = VecDeque::from(recent);
        recent.drain(..recent.len().saturating_sub(MAX_RECENT));
        Self {
            rng: rng(seed, next_id, Stream::Live),
            recent,
            next_id,
            updates: chaos.updates.fraction(),
            deletes: chaos.deletes.fraction(),
        }
    }

    /// Larger than every id given so far.
    pub(super) fn next_id(&self) -> i64 {
        self.next_id
    }

    /// The row before and after the next change; `None` when nobody of the roster does sport.
    pub(super) fn next(
        &mut self,
        roster: &Roster,
        now: DateTime<Utc>,
    ) -> Option<(Option<Activity>, Option<Activity>)> {
        let kind = self.rng.random::<f64>();
        if kind < self.updates + self.deletes && !self.recent.is_empty() {
            let at = self.rng.random_range(0..self.recent.len());
            if kind < self.deletes {
                return Some((self.recent.remove(at), None));
            }
            let before = self.recent[at].clone();
            let after = corrected(&before, &mut self.rng);
            self.recent[at] = after.clone();
            return Some((Some(before), Some(after)));
        }
        let athlete = roster.draw(&mut self.rng)?;
        let activity = just_ended(self.next_id, athlete, now, &mut self.rng);
        self.next_id += 1;
        self.recent.push_back(activity.clone());
        if self.recent.len() > MAX_RECENT {
            self.recent.pop_front();
        }
        Some((None, Some(activity)))
    }
}

fn just_ended(id: i64, athlete: &Athlete, now: DateTime<Utc>, rng: &mut SmallRng) -> Activity {
    let discipline = &athlete.disciplines[rng.random_range(0..athlete.disciplines.len())];
    let session = Session::draw(discipline, athlete.fitness, rng);
    let ended = now - Duration::seconds(rng.random_range(5..600));
    let start = local(ended - Duration::seconds(session.duree_s));
    Activity {
        id,
        employee_id: athlete.id,
        date_debut: start.with_nanosecond(0).unwrap_or(start),
        type_activite: Cow::Borrowed(discipline.name),
        distance_m: session.distance_m,
        duree_s: session.duree_s,
        commentaire: session.commentaire,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_and_changes_follow_their_rows() {
        let employees = (1..=20).map(|id| (id, Some("Running".to_owned())));
        let roster = Roster::new(employees, 7);
        let now = DateTime::from_timestamp(1_790_000_000, 0).expect("a time");
        let mut live = Live::new(7, &Chaos::default(), 100, Vec::new());
        let mut current = std::collections::BTreeMap::new();
        let mut kinds = [0; 3];
        for _ in 0..5000 {
            let (before, after) = live.next(&roster, now).expect("somebody does sport");
            let id = after.as_ref().or(before.as_ref()).expect("a row").id;
            assert_eq!(current.get(&id), before.as_ref());
            match (&before, after) {
                (None, Some(after)) => {
                    assert!(after.date_debut < local(now));
                    kinds[0] += 1;
                    assert_eq!(id, 99 + kinds[0]);
                    current.insert(id, after);
                }
                (Some(_), Some(after)) => {
                    kinds[1] += 1;
                    current.insert(id, after);
                }
                (_, None) => {
                    kinds[2] += 1;
                    current.remove(&id);
                }
            }
        }
        assert!(kinds[1] > 50 && kinds[2] > 15, "{kinds:?}");
        assert_eq!(live.next_id(), 100 + kinds[0]);
    }

    #[test]
    fn nobody_who_does_sport_means_no_event() {
        let mut live = Live::new(7, &Chaos::default(), 1, Vec::new());
        let roster = Roster::new(Vec::new(), 7);
        assert!(live.next(&roster, DateTime::UNIX_EPOCH).is_none());
    }
}
