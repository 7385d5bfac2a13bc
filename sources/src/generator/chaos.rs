//! What real life writes wrong, in chosen shares.

use std::fmt;
use std::str::FromStr;

use changes::{Error, Result};
use rand::Rng;
use serde::{Deserialize, Serialize};

/// A share of the changes, in millionths: from nothing to all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(u32);

const WHOLE: u32 = 1_000_000;

impl Share {
    pub const fn percent(percent: u32) -> Self {
        Self(percent * (WHOLE / 100))
    }

    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }

    /// From 0 to 1.
    pub(super) fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE)
    }

    /// Whether a change is one of the share. Nothing is drawn where there is nothing to decide.
    pub(super) fn draws(self, rng: &mut impl Rng) -> bool {
        !self.is_none() && rng.random_ratio(self.0, WHOLE)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.fraction() * 100.0)
    }
}

impl FromStr for Share {
    type Err = Error;

    /// `2%`, or `0.02`.
    fn from_str(text: &str) -> Result<Self> {
        let (number, whole) = match text.strip_suffix('%') {
            Some(number) => (number, 100.0),
            None => (text, 1.0),
        };
        let share = number.trim().parse::<f64>().ok().map(|share| share / whole);
        let share = share.filter(|share| (0.0..=1.0).contains(share));
        let share = share.ok_or_else(|| {
            Error::invalid(format!("\"{text}\" is no share")).hint("Write one as 2%, up to 100%.")
        })?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to a million"
        )]
        let millionths = (share * f64::from(WHOLE)).round() as u32;
        Ok(Self(millionths))
    }
}

/// What of the changes is written wrong, and how many change what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chaos {
    /// Sent a second time, byte for byte, as a producer does that heard no answer.
    pub duplicates: Share,
    /// Sent after changes that came later, with the time and position that they had.
    pub late: Share,
    /// Followed by a message that is no change event.
    pub malformed: Share,
    /// Of the changes those that correct an activity.
    pub updates: Share,
    /// Of the changes those that delete an activity.
    pub deletes: Share,
}

impl Default for Chaos {
    /// None: people correct and delete, and nothing is written wrong.
    fn default() -> Self {
        Self {
            duplicates: Share::default(),
            late: Share::default(),
            malformed: Share::default(),
            updates: Share::percent(3),
            deletes: Share::percent(1),
        }
    }
}

impl Chaos {
    /// A bad day.
    pub const TYPICAL: Self = Self {
        duplicates: Share::percent(2),
        late: Share::percent(5),
        malformed: Share::percent(1),
        updates: Share::percent(10),
        deletes: Share::percent(3),
    };

    pub(super) fn validate(&self) -> Result<()> {
        if self.updates.0 + self.deletes.0 > WHOLE {
            return Err(Error::invalid(format!(
                "updates of {} and deletes of {} are more than all changes",
                self.updates, self.deletes
            ))
            .hint("Leave room for new activities."));
        }
        Ok(())
    }

    /// A database has one order and no row twice; what is wrong there is wrong in its topics alone.
    pub(super) fn of_a_database(&self) -> Result<()> {
        let wrong = [
            ("duplicates", self.duplicates),
            ("late", self.late),
            ("malformed", self.malformed),
        ];
        let Some((name, _)) = wrong.iter().find(|(_, share)| !share.is_none()) else {
            return Ok(());
        };
        Err(
            Error::invalid(format!("a database takes no changes that are \"{name}\"")).hint(format!(
                "Ask for --chaos updates={},deletes={}, or leave source.postgres empty to write to Kafka itself.",
                self.updates, self.deletes
            )),
        )
    }
}

impl FromStr for Chaos {
    type Err = Error;

    /// `duplicates=2%,malformed=1%`; what is not named is as without chaos.
    fn from_str(text: &str) -> Result<Self> {
        let mut chaos = Self::default();
        for part in text.split(',') {
            let (name, share) = part.split_once('=').ok_or_else(|| unknown(part))?;
            let place = match name.trim() {
                "duplicates" => &mut chaos.duplicates,
                "late" => &mut chaos.late,
                "malformed" => &mut chaos.malformed,
                "updates" => &mut chaos.updates,
                "deletes" => &mut chaos.deletes,
                _ => return Err(unknown(part)),
            };
            *place = share.trim().parse()?;
        }
        chaos.validate()?;
        Ok(chaos)
    }
}

fn unknown(part: &str) -> Error {
    Error::invalid(format!("\"{part}\" is no chaos"))
        .hint("Write shares of duplicates, late, malformed, updates and deletes, as late=5%,malformed=1%.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read() {
        let chaos: Chaos = "duplicates=2%, late=0.05,updates=12.5%"
            .parse()
            .expect("chaos");
        let expected = Chaos {
            duplicates: Share::percent(2),
            late: Share::percent(5),
            updates: Share(125_000),
            ..Chaos::default()
        };
        assert_eq!(chaos, expected);
        assert_eq!(chaos.updates.to_string(), "12.5%");
        for wrong in [
            "",
            "late",
            "late=",
            "late=101%",
            "late=-1%",
            "late=NaN",
            "lateness=1%",
            "updates=60%,deletes=50%",
        ] {
            let error = wrong.parse::<Chaos>().expect_err(wrong);
            assert!(error.hint_text().is_some(), "{wrong}");
        }
    }

    #[test]
    fn a_database_is_not_written_wrong() {
        assert!(Chaos::default().of_a_database().is_ok());
        for wrong in ["duplicates=1%", "late=1%", "malformed=1%"] {
            let chaos: Chaos = wrong.parse().expect("chaos");
            let error = chaos.of_a_database().expect_err(wrong);
            let hint = error.hint_text().expect("a hint");
            assert!(hint.contains("--chaos updates=3%,deletes=1%"), "{hint}");
        }
    }
}
