//! Whether what a provider measured can be the way from the commune that an address names.

use super::cache::Said;
use super::estimate::{Flag, OFFICE, Position, great_circle_m};

/// A commune reaches no further from its middle, in metres.
const REACH_M: f64 = 25_000.0;

/// A way by road is no longer than that many great circles, and what is lost at both ends.
const LONGEST_DETOUR: f64 = 2.5;

/// The least way there is: nobody lives in the office.
const LEAST_M: f64 = 20.0;

/// Where the provider does not say where it begins: from the near end of a commune it is still that share of the way
/// from its middle.
const NEAR_END: f64 = 0.2;

/// How exactly the office, and the ends of a way, are placed.
const EXACTNESS_M: f64 = 500.0;

/// What is believed of an answer: a way that is neither longer nor shorter than one from the commune can be.
pub(super) fn judged(said: Said, commune: Position) -> (Option<f64>, Option<Flag>) {
    let Some(metres) = said.metres else {
        return (None, said.flag);
    };
    let direct = great_circle_m(commune, OFFICE);
    let shortest = match said.away_m {
        // No way is shorter than the straight line from where it begins.
        Some(away) => direct - away,
        None => (direct - REACH_M).max(direct * NEAR_END),
    };
    let possible = (shortest - EXACTNESS_M).max(LEAST_M)..=(direct * LONGEST_DETOUR + REACH_M);
    let is_far = said.away_m.is_some_and(|away| away > REACH_M);
    if is_far || !possible.contains(&metres) {
        return (None, Some(Flag::FarFromCommune));
    }
    (Some(metres), said.flag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commute::Communes;

    #[track_caller]
    fn check(commune: &str, metres: f64, away_m: Option<f64>, is_believed: bool) {
        let position = Communes::bundled().named(commune)[0].position;
        let said = Said {
            metres: Some(metres),
            away_m,
            flag: None,
        };
        let expected = match is_believed {
            true => (Some(metres), None),
            false => (None, Some(Flag::FarFromCommune)),
        };
        assert_eq!(judged(said, position), expected, "{commune}: {metres} m");
    }

    #[test]
    fn a_way_that_is_shorter_than_the_straight_line_is_not_believed() {
        for away in [None, Some(0.0), Some(2000.0)] {
            check("Montpellier", 0.0, away, false);
            check("Lattes", 0.0, away, false);
            check("Montpellier", -6400.0, away, false);
            check("Montpellier", 6400.0, away, true);
            check("Nîmes", 6400.0, away, false);
            check("Nîmes", 55_000.0, away, true);
        }
        check("Montpellier", 1200.0, Some(0.0), false);
        check("Montpellier", 2500.0, Some(3000.0), true);
    }

    #[test]
    fn a_neighbour_of_the_office_is_believed() {
        check("Lattes", 250.0, Some(2800.0), true);
        check("Lattes", 600.0, None, true);
    }

    #[test]
    fn a_way_that_is_too_long_or_begins_elsewhere_is_not_believed() {
        check("Lattes", 100_000.0, None, false);
        check("Lattes", 6400.0, Some(200_000.0), false);
        check("Lattes", f64::INFINITY, None, false);
        check("Lattes", f64::NAN, None, false);
    }
}
