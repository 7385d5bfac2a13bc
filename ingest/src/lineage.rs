//! Which life of its source an event belongs to: its generation.
//!
//! A source's log positions start again from low ones after a failover, a restore, or when another source takes over.
//! Rows of a later generation win over all earlier ones, whatever their positions.

use changes::{CommitPosition, Envelope};
use engine::bronze::Lineage;

/// What an event says about the log that it comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    commit: CommitPosition,
    lsn: Option<i64>,
    time_ms: Option<i64>,
    source: Option<i64>,
}

impl From<&Envelope<'_>> for Origin {
    fn from(envelope: &Envelope<'_>) -> Self {
        Self {
            commit: envelope.source_commit,
            lsn: envelope.source_lsn,
            time_ms: envelope.source_ts_ms,
            source: envelope.source_name,
        }
    }
}

impl Origin {
    fn position(&self) -> Option<i64> {
        match self.commit {
            CommitPosition::After(position) => Some(position),
            CommitPosition::None | CommitPosition::Untold => self.lsn,
        }
    }
}

/// A life of a source that some partition of a topic saw begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    generation: i64,
    since_ms: i64,
}

impl Life {
    /// The latest life that a partition has seen, where it saw it begin.
    pub(crate) fn of(lineage: &Lineage) -> Option<Self> {
        Some(Self {
            generation: lineage.generation,
            since_ms: lineage.since_ms?,
        })
    }

    pub(crate) fn later(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        one.into_iter()
            .chain(other)
            .max_by_key(|life| life.generation)
    }

    /// Whether an event is of that life, or of a later one.
    fn holds(&self, origin: &Origin) -> bool {
        origin.time_ms.is_some_and(|at| at >= self.since_ms)
    }
}

/// Moves a partition's lineage along with its next event; the event's generation.
///
/// What a connector repeats after a restart is as old as it was, and overlapping transactions are told by their
/// commits, so positions that fall while time goes on are those of another log. A source that does not tell its commits
/// must also have another name. `told` is the generation in the message's header, which counts where it is higher.
///
/// `latest` is the latest life that any partition of the topic saw begin. A partition whose positions were low does not
/// see them fall; what comes after that beginning is of that life all the same.
pub(crate) fn follow(
    lineage: &mut Lineage,
    origin: &Origin,
    told: i64,
    latest: Option<Life>,
) -> i64 {
    let position = origin.position();
    let fell = position
        .zip(lineage.position)
        .is_some_and(|(at, known)| at < known);
    let goes_on = match (origin.time_ms, lineage.time_ms) {
        (Some(at), Some(known)) => at > known,
        _ => false,
    };
    let tells = origin.commit != CommitPosition::Untold || origin.source != lineage.source;
    let joined = latest.filter(|life| life.generation > lineage.generation && life.holds(origin));
    let next = match (joined, fell && goes_on && tells) {
        (Some(life), _) => life.generation,
        (None, true) => lineage.generation.saturating_add(1),
        (None, false) => lineage.generation,
    };
    let generation = next.max(told);
    if generation > lineage.generation {
        *lineage = Lineage {
            generation,
            position,
            since_ms: match joined {
                Some(life) if life.generation == generation => Some(life.since_ms),
                _ => origin.time_ms,
            },
            time_ms: origin.time_ms,
            source: origin.source,
            cluster: lineage.cluster,
        };
    } else {
        lineage.position = lineage.position.max(position);
        lineage.time_ms = lineage.time_ms.max(origin.time_ms);
        lineage.source = origin.source.or(lineage.source);
    }
    generation
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSTGRES: i64 = 1;

    fn event(commit: i64, time_ms: i64) -> Origin {
        Origin {
            commit: CommitPosition::After(commit),
            lsn: Some(commit + 5),
            time_ms: Some(time_ms),
            source: Some(POSTGRES),
        }
    }

    #[track_caller]
    fn check(origins: &[Origin], expected: &[i64]) {
        let mut lineage = Lineage::default();
        let generations: Vec<i64> = origins
            .iter()
            .map(|origin| follow(&mut lineage, origin, 0, None))
            .collect();
        assert_eq!(generations, expected);
    }

    #[test]
    fn positions_that_fall_while_time_goes_on_are_a_new_life() {
        check(
            &[
                event(500, 1),
                event(600, 2),
                event(10, 3),
                event(20, 4),
                event(15, 5),
            ],
            &[0, 0, 1, 1, 2],
        );
    }

    #[test]
    fn what_a_connector_repeats_is_no_new_life() {
        let replay = [
            event(500, 1),
            event(600, 2),
            event(500, 1),
            event(600, 2),
            event(700, 3),
        ];
        check(&replay, &[0; 5]);
        // Two commits whose times are the other way round.
        check(
            &[event(500, 9), event(510, 8), event(500, 9), event(510, 8)],
            &[0; 4],
        );
    }

    #[test]
    fn overlapping_transactions_are_no_new_life() {
        let change = |commit, lsn, time_ms| Origin {
            lsn: Some(lsn),
            ..event(commit, time_ms)
        };
        check(
            &[
                change(100, 180, 1),
                change(200, 150, 2),
                change(300, 160, 3),
            ],
            &[0; 3],
        );
    }

    #[test]
    fn a_snapshot_of_a_restored_source_is_a_new_life() {
        let read = |lsn, time_ms| Origin {
            commit: CommitPosition::None,
            lsn: Some(lsn),
            ..event(0, time_ms)
        };
        check(
            &[
                read(100, 1),
                read(100, 2),
                event(150, 3),
                read(40, 4),
                read(40, 5),
            ],
            &[0, 0, 0, 1, 1],
        );
    }

    #[test]
    fn a_source_that_does_not_tell_its_commits_needs_another_name() {
        let untold = |lsn, time_ms, source| Origin {
            commit: CommitPosition::Untold,
            lsn: Some(lsn),
            time_ms: Some(time_ms),
            source: Some(source),
        };
        check(
            &[untold(100, 1, 7), untold(50, 2, 7), untold(40, 3, 8)],
            &[0, 0, 1],
        );
        check(
            &[Origin::default(), untold(100, 1, 7), Origin::default()],
            &[0; 3],
        );
    }

    #[test]
    fn a_header_counts_upwards_and_for_what_follows() {
        let mut lineage = Lineage::default();
        let told = [
            (event(500, 1), 0),
            (event(510, 2), 3),
            (event(520, 3), 1),
            (event(9, 4), 0),
        ];
        let generations = told.map(|(origin, told)| follow(&mut lineage, &origin, told, None));
        assert_eq!(generations, [0, 3, 3, 4]);
    }

    #[test]
    fn a_life_that_one_partition_saw_begin_is_that_of_all() {
        let (mut first, mut second) = (Lineage::default(), Lineage::default());
        follow(&mut first, &event(500, 10), 0, None);
        follow(&mut second, &event(100, 20), 0, None);
        assert_eq!(follow(&mut first, &event(120, 30), 0, None), 1);
        let latest = Life::later(Life::of(&second), Life::of(&first));
        // What was under way from before, then what never fell in its partition.
        assert_eq!(follow(&mut second, &event(110, 25), 0, latest), 0);
        assert_eq!(follow(&mut second, &event(150, 31), 0, latest), 1);
        assert_eq!(Life::of(&second), latest);
        assert_eq!(follow(&mut second, &event(160, 32), 0, latest), 1);
        assert_eq!(follow(&mut second, &event(20, 40), 0, latest), 2);
    }
}
