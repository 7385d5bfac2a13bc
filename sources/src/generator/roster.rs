use changes::{Error, ErrorKind, KafkaConfig, Result};
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::discipline::{Discipline, practised};
use crate::changelog::{Row, Rows};
use crate::hr::Workbook;
use crate::topics::SourceTopic;

/// The employees whose activities are played.
#[derive(Debug)]
pub(super) struct Roster {
    pub(super) athletes: Vec<Athlete>,
    /// Says whether two rosters are of the same employees with the same sports.
    pub(super) fingerprint: u32,
    /// Draws an athlete by sessions a week; none where nobody does sport.
    frequency: Option<WeightedIndex<f64>>,
}

/// Somebody with habits.
#[derive(Debug)]
pub(super) struct Athlete {
    pub(super) id: i64,
    pub(super) disciplines: &'static [Discipline],
    /// By day of the week from Monday: how likely there is a session, before seasons.
    pub(super) habits: [f64; 7],
    /// Hour of the usual start on a working day.
    pub(super) hour: u32,
    /// From 0, slow, to 1, fast.
    pub(super) fitness: f64,
}

impl Roster {
    /// Who works here and does what, as the topics say.
    pub(super) async fn read(kafka: &KafkaConfig, seed: u64) -> Result<Self> {
        let employees = Rows::read(kafka, &SourceTopic::employees(kafka)?).await?;
        let sports = Rows::read(kafka, &SourceTopic::declared_sports(kafka)?).await?;
        if employees.rows.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, "there is no employee yet")
                .hint("Import a workbook first: sportlake hr import FILE.xlsx."));
        }
        let sport = |row: &Row| row.get("sport")?.as_str().map(str::to_owned);
        Ok(Self::new(
            employees
                .rows
                .keys()
                .map(|id| (*id, sports.rows.get(id).and_then(sport))),
            seed,
        ))
    }

    /// The habits of employees who declared these sports.
    pub(super) fn new(
        employees: impl IntoIterator<Item = (i64, Option<String>)>,
        seed: u64,
    ) -> Self {
        let mut fingerprint = 0;
        let mut athletes = Vec::new();
        for (id, sport) in employees {
            let line = format!("{id}:{}\n", sport.as_deref().unwrap_or_default());
            fingerprint = crc32c::crc32c_append(fingerprint, line.as_bytes());
            athletes.push(Athlete::new(id, sport.as_deref(), seed));
        }
        Self {
            frequency: WeightedIndex::new(athletes.iter().map(Athlete::sessions_a_week)).ok(),
            athletes,
            fingerprint,
        }
    }

    /// The employees of a workbook, with the sports that its second one declares.
    pub(super) fn of(workbook: &Workbook, seed: u64) -> Self {
        let sport = |id: &i64| workbook.sports.as_ref()?.get(id).cloned();
        let employees = workbook.employees.iter();
        Self::new(
            employees.map(|employee| (employee.id, sport(&employee.id))),
            seed,
        )
    }

    /// Whose activity comes next; `None` when nobody does sport.
    pub(super) fn draw(&self, rng: &mut SmallRng) -> Option<&Athlete> {
        self.athletes.get(self.frequency.as_ref()?.sample(rng))
    }
}

impl Athlete {
    fn new(id: i64, sport: Option<&str>, seed: u64) -> Self {
        let mut rng = rng(seed, id, Stream::Habits);
        let a_week = match sport {
            None if rng.random_bool(0.7) => 0.0,
            None => rng.random_range(0.02..0.12),
            Some(_) if rng.random_bool(0.09) => rng.random_range(0.04..0.22),
            Some(_) => rng.random_range(0.4..3.2_f64),
        };
        let mut habits = [0.0; 7];
        let mut left: f64 = a_week;
        while left > 0.0 {
            let day = rng.random_range(0..7);
            if habits[day] == 0.0 {
                habits[day] = left.min(1.0);
                left -= habits[day];
            }
        }
        Self {
            id,
            disciplines: practised(sport),
            habits,
            hour: if rng.random_bool(0.3) {
                12
            } else {
                rng.random_range(17..=19)
            },
            fitness: rng.random_range(0.1..0.9),
        }
    }

    /// Sessions a week, before seasons.
    fn sessions_a_week(&self) -> f64 {
        self.habits.iter().sum()
    }
}

/// Draws of different kinds never shift each other.
#[derive(Clone, Copy)]
pub(super) enum Stream {
    Habits = 1,
    Backfill = 2,
    Live = 3,
    Chaos = 4,
}

pub(super) fn rng(seed: u64, id: i64, stream: Stream) -> SmallRng {
    let mixed = id
        .unsigned_abs()
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(stream as u32 * 8);
    SmallRng::seed_from_u64(seed ^ mixed)
}
