use crate::spelling::plain;

/// What one sport looks like in the records of an application.
#[derive(Debug, PartialEq)]
pub(super) struct Discipline {
    pub(super) name: &'static str,
    /// Metres a second, slowest and fastest; `None` for sports without a distance.
    pub(super) speed: Option<(f64, f64)>,
    /// Shortest and longest session.
    pub(super) minutes: (u32, u32),
    pub(super) season: Season,
    pub(super) comments: &'static [&'static str],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Season {
    /// In a hall, or in any weather.
    AllYear,
    /// Outside, and better when it is warm.
    Summer,
    /// With a club, which rests in July and August.
    Club,
}

impl Season {
    /// How likely a habit is kept in that month (1 to 12).
    pub(super) fn weight(self, month: u32) -> f64 {
        match (self, month) {
            (Self::Summer, 4..=10) => 1.0,
            (Self::Summer, 3 | 11) => 0.75,
            (Self::Summer, _) => 0.45,
            (Self::Club, 7 | 8) => 0.25,
            (Self::AllYear, 8) | (Self::AllYear | Self::Club, 12) => 0.75,
            (Self::AllYear | Self::Club, _) => 0.95,
        }
    }
}

pub(super) const GENERAL_COMMENTS: [&str; 8] = [
    "Super séance !",
    "Un peu fatigué aujourd'hui",
    "Reprise en douceur",
    "Avec les collègues, bonne ambiance",
    "Ça fait du bien après le travail",
    "Objectif atteint :)",
    "Dur, mais content d'y être allé",
    "À refaire",
];

const RUNNING: Discipline = Discipline {
    name: "Running",
    speed: Some((2.2, 3.6)),
    minutes: (25, 80),
    season: Season::AllYear,
    comments: &[
        "Sortie le long du Lez",
        "Fractionné au stade",
        "Footing tranquille autour de l'étang",
    ],
};
const CYCLING: Discipline = Discipline {
    name: "Vélo",
    speed: Some((4.5, 8.0)),
    minutes: (40, 180),
    season: Season::Summer,
    comments: &[
        "Aller-retour à Palavas",
        "Vent de face au retour…",
        "Boucle par le pic Saint-Loup",
    ],
};
const SWIMMING: Discipline = Discipline {
    name: "Natation",
    speed: Some((0.5, 1.1)),
    minutes: (30, 70),
    season: Season::AllYear,
    comments: &[
        "Piscine olympique d'Antigone",
        "Travail de la respiration",
        "Eau fraîche !",
    ],
};
const HIKING: Discipline = Discipline {
    name: "Randonnée",
    speed: Some((0.9, 1.4)),
    minutes: (90, 320),
    season: Season::Summer,
    comments: &[
        "Cirque de Navacelles",
        "Randonnée de Saint-Guilhem-le-Désert, je vous la conseille",
        "Très belle vue",
    ],
};
const WALKING: Discipline = Discipline {
    name: "Marche",
    speed: Some((1.1, 1.6)),
    minutes: (25, 90),
    season: Season::Summer,
    comments: &["Balade à la Méjean", "Marche au bord de la mer"],
};

const OTHERS: [Discipline; 12] = [
    without_distance(
        "Tennis",
        (60, 120),
        Season::Club,
        &["Gagné 6-4 6-3", "Perdu au tie-break"],
    ),
    without_distance("Badminton", (45, 100), Season::Club, &["Double mixte"]),
    without_distance(
        "Tennis de table",
        (45, 100),
        Season::Club,
        &["Tournoi du club"],
    ),
    without_distance(
        "Football",
        (60, 110),
        Season::Club,
        &["Match nul 2-2", "Five du midi"],
    ),
    without_distance("Rugby", (70, 110), Season::Club, &["Victoire à domicile"]),
    without_distance("Basketball", (60, 110), Season::Club, &["Belle victoire"]),
    without_distance(
        "Escalade",
        (60, 150),
        Season::AllYear,
        &["Premier 6b !", "Bloc en salle", "Falaise à Claret"],
    ),
    without_distance(
        "Judo",
        (60, 100),
        Season::Club,
        &["Préparation de la ceinture marron"],
    ),
    without_distance("Boxe", (50, 90), Season::AllYear, &["Sparring"]),
    without_distance(
        "Équitation",
        (50, 100),
        Season::AllYear,
        &["Balade en Camargue"],
    ),
    without_distance(
        "Voile",
        (90, 240),
        Season::Summer,
        &["Belle brise à La Grande-Motte"],
    ),
    without_distance("Gymnastique", (45, 90), Season::Club, &[]),
];

const fn without_distance(
    name: &'static str,
    minutes: (u32, u32),
    season: Season,
    comments: &'static [&'static str],
) -> Discipline {
    Discipline {
        name,
        speed: None,
        minutes,
        season,
        comments,
    }
}

static RUNNER: [Discipline; 1] = [RUNNING];
static CYCLIST: [Discipline; 1] = [CYCLING];
static SWIMMER: [Discipline; 1] = [SWIMMING];
static HIKER: [Discipline; 1] = [HIKING];
static WALKER: [Discipline; 1] = [WALKING];
static TRIATHLETE: [Discipline; 3] = [RUNNING, CYCLING, SWIMMING];
static STROLLER: [Discipline; 2] = [WALKING, HIKING];
static OTHER: [Discipline; 12] = OTHERS;
static UNKNOWN: [Discipline; 1] = [without_distance("Autre", (40, 90), Season::AllYear, &[])];

/// What somebody does who declared that sport, as HR wrote it; those who declared none stroll now and then.
pub(super) fn practised(sport: Option<&str>) -> &'static [Discipline] {
    let Some(sport) = sport else {
        return &STROLLER;
    };
    match plain(sport).as_str() {
        "runing" | "running" | "course a pied" => &RUNNER,
        "velo" | "cyclisme" => &CYCLIST,
        "natation" => &SWIMMER,
        "randonnee" => &HIKER,
        "marche" => &WALKER,
        "triathlon" => &TRIATHLETE,
        sport => OTHER
            .iter()
            .position(|other| plain(other.name) == sport)
            .map_or(&UNKNOWN, |at| &OTHER[at..=at]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sport: &str, expected: &[&str]) {
        let names: Vec<&str> = practised(Some(sport)).iter().map(|d| d.name).collect();
        assert_eq!(names, expected, "{sport}");
    }

    #[test]
    fn what_is_done_fits_what_was_declared() {
        check("Runing", &["Running"]);
        check("Running", &["Running"]);
        check("Triathlon", &["Running", "Vélo", "Natation"]);
        check("équitation", &["Équitation"]);
        check("Tennis de table", &["Tennis de table"]);
        check("Pétanque", &["Autre"]);
    }
}
