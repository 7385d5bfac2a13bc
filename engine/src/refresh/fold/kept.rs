use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::keys::Place;
use crate::error::{Error, ErrorKind, Result};

/// Events of a key that are kept in memory before those that cannot matter are left out.
const MANY: usize = 64;

/// Where the fields come from that the event of a row left out: for each the newest older event that has it.
///
/// The newest event that has a field gives it, so the order in which events come does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    from: Vec<Taken>,
    /// Fields that no event has.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    open: BTreeSet<String>,
}

/// What an event gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// The event's place in the order of its key: the sequence, offset, partition.
    pub(crate) place: Vec<Option<i64>>,
    pub(crate) fields: BTreeSet<String>,
}

/// An event of a key, as far as its fields matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Telling {
    pub(super) place: Place,
    /// What it does not tell.
    pub(super) unavailable: BTreeSet<String>,
}

impl Telling {
    /// `unavailable` is a JSON array of names.
    pub(super) fn new(place: &[u8], unavailable: Option<&str>) -> Result<Self> {
        let unavailable = match unavailable {
            None => BTreeSet::new(),
            Some(json) => serde_json::from_str(json).map_err(unreadable)?,
        };
        Ok(Self {
            place: place.into(),
            unavailable,
        })
    }
}

impl Kept {
    pub(super) fn parse(json: &str) -> Result<Self> {
        serde_json::from_str(json).map_err(unreadable)
    }

    pub(super) fn json(&self) -> Result<Option<String>> {
        if self.is_empty() {
            return Ok(None);
        }
        serde_json::to_string(self).map(Some).map_err(unreadable)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.from.is_empty() && self.open.is_empty()
    }

    /// Whether an event that sorts before `place` gives a field.
    pub(super) fn reaches_before(&self, place: &Place) -> bool {
        self.from
            .iter()
            .any(|taken| Place::of(&taken.place) < *place)
    }

    /// The events that a stored row rests on.
    pub(super) fn tellings(&self, row: &[u8]) -> Vec<Telling> {
        let given = self.from.iter().flat_map(|taken| &taken.fields);
        let all: BTreeSet<String> = given.chain(&self.open).cloned().collect();
        let others = self.from.iter().map(|taken| Telling {
            place: Place::of(&taken.place),
            unavailable: all.difference(&taken.fields).cloned().collect(),
        });
        let head = Telling {
            place: row.into(),
            unavailable: all.clone(),
        };
        [head].into_iter().chain(others).collect()
    }

    /// The events that give fields, with the fields.
    pub(super) fn sources(&self) -> impl Iterator<Item = (Place, &BTreeSet<String>)> {
        let sources = self.from.iter();
        sources.map(|taken| (Place::of(&taken.place), &taken.fields))
    }
}

/// The events that give a row what its own left out, as they are written beside it.
///
/// # Errors
/// `Corrupt` for what no fold wrote.
pub(crate) fn taken(json: &str) -> Result<Vec<Taken>> {
    Ok(Kept::parse(json)?.from)
}

/// The last word among the events of a key, and where what it does not tell is taken from.
pub(super) fn resolve(
    mut tellings: Vec<Telling>,
    emptied: Option<&Place>,
) -> Option<(Telling, Kept)> {
    tellings.retain(|telling| emptied.is_none_or(|emptied| telling.place > *emptied));
    tellings.sort_by(|a, b| b.place.cmp(&a.place));
    let mut tellings = tellings.into_iter();
    let last = tellings.next()?;
    let mut missing = last.unavailable.clone();
    let mut from = Vec::new();
    for telling in tellings {
        if missing.is_empty() {
            break;
        }
        let fields: BTreeSet<String> = missing.difference(&telling.unavailable).cloned().collect();
        if !fields.is_empty() {
            missing.retain(|field| !fields.contains(field));
            from.push(Taken {
                place: telling.place.parts(),
                fields,
            });
        }
    }
    Some((
        last,
        Kept {
            from,
            open: missing,
        },
    ))
}

/// Adds an event to those of its key. Of many only those that can matter stay: the last, and the newest for each field.
pub(super) fn add(tellings: &mut Vec<Telling>, telling: Telling) {
    tellings.push(telling);
    if tellings.len() > MANY
        && let Some((last, kept)) = resolve(std::mem::take(tellings), None)
    {
        *tellings = kept.tellings(last.place.bytes());
    }
}

fn unreadable(source: serde_json::Error) -> Error {
    Error::new(ErrorKind::Corrupt, "a row's kept fields cannot be read").caused_by(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn telling(lsn: i64, unavailable: &[&str]) -> Telling {
        Telling {
            place: Place::of(&[Some(lsn), Some(100 + lsn), Some(0)]),
            unavailable: unavailable.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn each_field_is_taken_from_the_newest_event_that_has_it() {
        let events = vec![telling(3, &["a", "b"]), telling(1, &[]), telling(2, &["b"])];
        let (last, kept) = resolve(events.clone(), None).expect("an event");
        assert_eq!(last.place.coordinates(), (0, 103));
        let sources: Vec<_> = kept
            .sources()
            .map(|(place, fields)| (place.coordinates().1, fields.len()))
            .collect();
        assert_eq!(sources, [(102, 1), (101, 1)]);
        let again = resolve(kept.tellings(last.place.bytes()), None).expect("an event");
        assert_eq!(
            again,
            (last.clone(), kept.clone()),
            "a stored row says the same"
        );

        let emptied = Place::of(&[Some(1), Some(500), Some(0)]);
        assert!(kept.reaches_before(&emptied));
        let (_, cut) = resolve(events, Some(&emptied)).expect("an event");
        assert_eq!(cut.open.iter().collect::<Vec<_>>(), ["b"]);
        let read = Kept::parse(&cut.json().expect("JSON").expect("some")).expect("read");
        assert_eq!(read, cut);
    }

    #[test]
    fn of_many_events_those_that_matter_stay() {
        let event = |lsn: i64| match lsn % 50 {
            7 => telling(lsn, &[]),
            23 => telling(lsn, &["a"]),
            _ => telling(lsn, &["a", "b"]),
        };
        let all: Vec<Telling> = (0..1_000).map(|step| event(step * 389 % 1_000)).collect();
        let mut some = Vec::new();
        for telling in all.clone() {
            add(&mut some, telling);
            assert!(some.len() <= MANY);
        }
        assert_eq!(resolve(some, None), resolve(all, None));
    }
}
