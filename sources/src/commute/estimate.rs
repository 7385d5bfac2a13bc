use serde::{Deserialize, Serialize};

use super::communes::{Commune, Communes};
use crate::spelling::words;

/// A place on Earth, in degrees.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Position {
    pub latitude: f64,
    pub longitude: f64,
}

/// 1362 Av. des Platanes, 34970 Lattes: the quarter of Boirargues, placed by hand to about 300 m.
pub const OFFICE: Position = Position {
    latitude: 43.5845,
    longitude: 3.9290,
};

/// The same, as a provider finds it.
pub(super) const OFFICE_ADDRESS: &str = "1362 Avenue des Platanes, 34970 Lattes, France";

/// Ways by road are about 1.3 times the great circle where streets are dense and nothing bars the way.
pub const DETOUR_FACTOR: f64 = 1.3;

/// What `source` of a commute distance says for these estimates.
pub const SOURCE: &str = "estimate";

/// Why a distance deserves a second look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// No address.
    NoAddress,
    /// The commune is not in the table.
    UnknownCommune,
    /// Two communes of that name, and no postcode that decides.
    AmbiguousCommune,
    /// The postcode is none of the commune's.
    PostcodeMismatch,
    /// The provider does not find the address.
    AddressNotFound,
    /// The provider is not sure which place is meant.
    AmbiguousAddress,
    /// The provider finds no way.
    NoRoute,
    /// The provider's answer does not fit the commune of the address.
    FarFromCommune,
}

impl Flag {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoAddress => "no_address",
            Self::UnknownCommune => "unknown_commune",
            Self::AmbiguousCommune => "ambiguous_commune",
            Self::PostcodeMismatch => "postcode_mismatch",
            Self::AddressNotFound => "address_not_found",
            Self::AmbiguousAddress => "ambiguous_address",
            Self::NoRoute => "no_route",
            Self::FarFromCommune => "far_from_commune",
        }
    }
}

/// The estimated way; no distance when the commune is not known or the address contradicts itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Whole metres.
    pub distance_m: Option<f64>,
    pub flag: Option<Flag>,
}

/// Estimates the way from an address to the office.
pub fn estimate(communes: &Communes, address: Option<&str>) -> Estimate {
    match locate(communes, address.unwrap_or_default()) {
        Ok(position) => {
            let way = great_circle_m(position, OFFICE) * DETOUR_FACTOR;
            Estimate {
                distance_m: Some(way.round()),
                flag: None,
            }
        }
        Err(flag) => Estimate {
            distance_m: None,
            flag: Some(flag),
        },
    }
}

/// Words behind which a name is that of a street: without a postcode, "4 avenue de la Mer" is not in Mer.
const NAMES_A_STREET: [&str; 20] = [
    "a",
    "allee",
    "au",
    "aux",
    "avenue",
    "boulevard",
    "chemin",
    "cours",
    "d",
    "de",
    "des",
    "du",
    "impasse",
    "l",
    "la",
    "place",
    "quai",
    "route",
    "rue",
    "square",
];

/// The commune of an address, by its name; the postcode tells homonyms apart.
pub(super) fn locate(communes: &Communes, address: &str) -> Result<Position, Flag> {
    let mut words = words(address);
    if words.last().is_some_and(|word| word == "france") {
        words.pop();
    }
    let is_cedex = take_off_cedex(&mut words);
    if words.is_empty() {
        return Err(Flag::NoAddress);
    }
    let is_postcode = |word: &String| word.len() == 5 && word.bytes().all(|b| b.is_ascii_digit());
    let postcode_at = words.iter().rposition(is_postcode);
    let postcode = postcode_at.map(|at| words[at].clone());
    let found = match postcode_at {
        Some(at) if at + 1 < words.len() => communes.named(&words[at + 1..].join(" ")),
        Some(at) => communes.at_the_end_of(&words[..at]).0,
        None => match communes.at_the_end_of(&words) {
            (_, [.., last]) if NAMES_A_STREET.contains(&last.as_str()) => Vec::new(),
            (found, _) => found,
        },
    };
    let is_in_its_department = |commune: &&&Commune| {
        let department = postcode.as_deref().map(|postcode| &postcode[..2]);
        let mut theirs = commune.postcodes.iter();
        department.is_some_and(|department| theirs.any(|theirs| theirs.starts_with(department)))
    };
    let serves = |commune: &&&Commune| {
        let wanted = postcode.as_deref();
        wanted.is_some_and(|wanted| commune.postcodes.contains(&wanted))
    };
    let mut agreeing: Vec<&&Commune> = found.iter().filter(serves).collect();
    if is_cedex && agreeing.is_empty() {
        agreeing = found.iter().filter(is_in_its_department).collect();
    }
    match (found.as_slice(), agreeing.as_slice(), postcode.as_deref()) {
        ([], _, _) => Err(Flag::UnknownCommune),
        (_, [commune], _) => Ok(commune.position),
        (_, [_, _, ..], _) => Err(Flag::AmbiguousCommune),
        (_, [], Some(_)) => Err(Flag::PostcodeMismatch),
        ([commune], [], None) => Ok(commune.position),
        ([_, _, ..], [], None) => Err(Flag::AmbiguousCommune),
    }
}

/// `Cedex` and `Cedex 2` mark the mail of firms: its postcode is of the department and often of no commune.
fn take_off_cedex(words: &mut Vec<String>) -> bool {
    let is_number = |word: &String| word.len() <= 2 && word.bytes().all(|b| b.is_ascii_digit());
    let kept = match words.as_slice() {
        [kept @ .., cedex] if cedex == "cedex" => kept.len(),
        [kept @ .., cedex, number] if cedex == "cedex" && is_number(number) => kept.len(),
        _ => return false,
    };
    words.truncate(kept);
    true
}

pub(super) fn great_circle_m(from: Position, to: Position) -> f64 {
    const EARTH_RADIUS_M: f64 = 6_371_008.8;
    let latitude = (to.latitude - from.latitude).to_radians();
    let longitude = (to.longitude - from.longitude).to_radians();
    let cosines = from.latitude.to_radians().cos() * to.latitude.to_radians().cos();
    let chord = (latitude / 2.0).sin().powi(2) + cosines * (longitude / 2.0).sin().powi(2);
    2.0 * EARTH_RADIUS_M * chord.sqrt().asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> Estimate {
        estimate(Communes::bundled(), Some(address))
    }

    #[track_caller]
    fn check_km(address: &str, from: f64, to: f64) {
        let found = of(address);
        let km = found.distance_m.map(|metres| metres / 1000.0);
        assert!(
            km.is_some_and(|km| (from..to).contains(&km)),
            "{address}: {found:?}"
        );
        assert_eq!(found.flag, None);
    }

    #[track_caller]
    fn check_flag(address: &str, flag: Flag) {
        let expected = Estimate {
            distance_m: None,
            flag: Some(flag),
        };
        assert_eq!(of(address), expected, "{address}");
    }

    #[test]
    fn distances_are_those_of_the_map() {
        check_km("12 rue de la Loge, 34000 Montpellier", 5.0, 8.0);
        check_km("3 place du Forum, 30000 Nîmes", 55.0, 70.0);
        check_km("5 Avenue de la Plage 34250 PALAVAS LES FLOTS", 6.0, 9.0);
        check_km("1 quai de Bosc, 34200 Sète, France", 30.0, 40.0);
        check_km("8 chemin du Mas, 34970 Lattes Cedex", 2.0, 5.0);
        for number in ["2", "02", "9 France"] {
            let address = format!("8 chemin du Mas, 34970 Lattes Cedex {number}");
            check_km(&address, 2.0, 5.0);
        }
        check_km(
            "1 place de la Mairie, 34330 Cambon-et-Salvergues",
            100.0,
            120.0,
        );
        check_km("7 rue de Rivoli, 75001 Paris", 750.0, 800.0);
    }

    #[test]
    fn an_address_without_a_postcode_is_placed_by_its_commune() {
        check_km("4 rue des Écoles, Saint-Jean-de-Védas", 7.0, 11.0);
        check_km("4 rue des Ecoles ST JEAN DE VEDAS", 7.0, 11.0);
        check_km("2 rue Montpellier, Castelnau-le-Lez 34170", 6.0, 11.0);
    }

    #[test]
    fn a_postcode_tells_homonyms_apart() {
        let herault = of("1 rue Haute, 34210 Aigues-Vives");
        let gard = of("1 rue Haute, 30670 Aigues-Vives");
        assert_ne!(herault, gard);
    }

    #[test]
    fn a_postcode_of_cedex_is_of_its_department() {
        check_km("CS 12345, 34961 Montpellier Cedex 2", 5.0, 8.0);
        check_km("BP 1, 75380 Paris CEDEX 08", 750.0, 800.0);
        let gard = of("1 rue Haute, 30679 Aigues-Vives Cedex 1");
        assert_eq!(gard, of("1 rue Haute, 30670 Aigues-Vives"));
        check_flag("34961 Paris Cedex 2", Flag::PostcodeMismatch);
        check_flag("34961 Montpellier", Flag::PostcodeMismatch);
    }

    #[test]
    fn what_is_not_known_is_flagged() {
        check_flag("", Flag::NoAddress);
        check_flag("1 rue Royale, 1000 Bruxelles", Flag::UnknownCommune);
        check_flag("12 rue de la Loge, 34000 Lunel", Flag::PostcodeMismatch);
        check_flag("Poste restante", Flag::UnknownCommune);
        check_flag("4 avenue de la Mer", Flag::UnknownCommune);
        check_flag("rue de Paris", Flag::UnknownCommune);
        check_flag("12 route de l'Espinouse", Flag::UnknownCommune);
    }
}
