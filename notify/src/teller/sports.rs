use super::SPORT;
use crate::french::{plain, quoted};

/// Letters of a sport's name that are looked at.
const LONGEST_NAME: usize = 240;

/// What there is to say about one sport.
pub(super) struct Words {
    /// In a list: `course à pied`.
    pub(super) label: &'static str,
    /// What one did over a distance, which takes the place of `{}`; empty for sports without one.
    pub(super) over: &'static [&'static str],
    /// What one did.
    pub(super) doing: &'static [&'static str],
    /// With its article, and the participle that agrees with it.
    pub(super) noun: &'static str,
    pub(super) done: &'static str,
    pub(super) closings: &'static [&'static str],
}

pub(super) enum Sport {
    Known(&'static Words),
    /// Another one, by its name in brackets when it has one.
    Other(String),
}

pub(super) const CLOSINGS: [&str; 5] = [
    "Quelle énergie ! 🔥🏅",
    "Et ce n'est pas fini ! 💪",
    "Ça donne envie ! 🙌",
    "Toute l'équipe applaudit ! 👏",
    "De quoi bien dormir ce soir ! 😴",
];

const RUNNING: Words = Words {
    label: "course à pied",
    over: &["courir {}", "parcourir {} à petites foulées"],
    doing: &["courir"],
    noun: "une course",
    done: "bouclée",
    closings: &[
        "Quelle énergie ! 🔥🏅",
        "Les baskets fument ! 👟",
        "Quelle foulée ! 🏃",
        "Le chrono n'a qu'à bien se tenir ! ⏱️",
    ],
};
const CYCLING: Words = Words {
    label: "vélo",
    over: &["parcourir {} à vélo", "pédaler sur {}", "avaler {} à vélo"],
    doing: &["faire du vélo", "pédaler"],
    noun: "une sortie à vélo",
    done: "bouclée",
    closings: &[
        "Quel coup de pédale ! 🚴",
        "Le maillot jaune n'est pas loin ! 💛",
        "Quelles jambes ! 🔥",
    ],
};
const SWIMMING: Words = Words {
    label: "natation",
    over: &["nager {}", "nager sur {}"],
    doing: &["nager", "enchaîner les longueurs"],
    noun: "une séance de natation",
    done: "terminée",
    closings: &[
        "Comme un poisson dans l'eau ! 🏊",
        "Quel souffle ! 💦",
        "Ça, c'est du sport ! 🌊",
    ],
};
const HIKING: Words = Words {
    label: "randonnée",
    over: &["randonner sur {}", "marcher {} en randonnée"],
    doing: &["randonner", "faire une randonnée"],
    noun: "une randonnée",
    done: "terminée",
    closings: &[
        "Quel bol d'air ! 🌄🏕️",
        "La vue devait être belle ! 🥾",
        "Quels mollets ! ⛰️",
    ],
};
const WALKING: Words = Words {
    label: "marche",
    over: &["marcher {}", "parcourir {} à pied"],
    doing: &["marcher"],
    noun: "une marche",
    done: "terminée",
    closings: &[
        "Chaque pas compte ! 👣",
        "Quel bol d'air ! 🌿",
        "Un pas après l'autre ! 🚶",
    ],
};
const TRIATHLON: Words = Words {
    label: "triathlon",
    over: &["boucler un triathlon de {}"],
    doing: &[
        "boucler un triathlon",
        "enchaîner natation, vélo et course à pied",
    ],
    noun: "un triathlon",
    done: "bouclé",
    closings: &["Trois fois bravo ! 🏊🚴🏃", "Quelle endurance ! 🔥"],
};

const RACKET: &[&str] = &[
    "Jeu, set et match ! 🎾",
    "Quel coup droit ! 💥",
    "Belle partie ! 🏅",
];
const TEAM: &[&str] = &[
    "Quel esprit d'équipe ! 🤝",
    "Le public est debout ! 👏",
    "Beau match ! 🏅",
];
const COMBAT: &[&str] = &[
    "Respect ! 🥋",
    "Quelle maîtrise ! 💪",
    "Ça, c'est du cran ! 🔥",
];

const fn played(
    label: &'static str,
    doing: &'static [&'static str],
    noun: &'static str,
    done: &'static str,
    closings: &'static [&'static str],
) -> Words {
    Words {
        label,
        over: &[],
        doing,
        noun,
        done,
        closings,
    }
}

const TENNIS: Words = played(
    "tennis",
    &["jouer au tennis", "échanger des balles au tennis"],
    "une partie de tennis",
    "terminée",
    RACKET,
);
const BADMINTON: Words = played(
    "badminton",
    &["jouer au badminton"],
    "une partie de badminton",
    "terminée",
    RACKET,
);
const TABLE_TENNIS: Words = played(
    "tennis de table",
    &["jouer au tennis de table"],
    "une partie de tennis de table",
    "terminée",
    RACKET,
);
const FOOTBALL: Words = played(
    "football",
    &["jouer au football"],
    "un match de football",
    "terminé",
    TEAM,
);
const RUGBY: Words = played(
    "rugby",
    &["jouer au rugby"],
    "un match de rugby",
    "terminé",
    TEAM,
);
const BASKETBALL: Words = played(
    "basket",
    &["jouer au basket"],
    "un match de basket",
    "terminé",
    TEAM,
);
const CLIMBING: Words = played(
    "escalade",
    &["faire de l'escalade", "grimper", "escalader des parois"],
    "une séance d'escalade",
    "terminée",
    &[
        "Toujours plus haut ! 🧗",
        "Quelle prise ! 💪",
        "Le sommet est conquis ! ⛰️",
    ],
);
const JUDO: Words = played(
    "judo",
    &["faire du judo", "s'entraîner au judo"],
    "une séance de judo",
    "terminée",
    COMBAT,
);
const BOXING: Words = played(
    "boxe",
    &["faire de la boxe", "boxer"],
    "une séance de boxe",
    "terminée",
    COMBAT,
);
const RIDING: Words = played(
    "équitation",
    &["faire de l'équitation", "monter à cheval"],
    "une séance d'équitation",
    "terminée",
    &[
        "Au galop ! 🐎",
        "Quelle assiette ! 🏇",
        "Bien en selle ! 🏅",
    ],
);
const SAILING: Words = played(
    "voile",
    &["faire de la voile", "naviguer à la voile"],
    "une sortie en voile",
    "terminée",
    &[
        "Bon vent ! ⛵",
        "Quel cap ! 🌊",
        "Le vent était de la partie ! 💨",
    ],
);
const GYMNASTICS: Words = played(
    "gymnastique",
    &["faire de la gymnastique"],
    "une séance de gymnastique",
    "terminée",
    &[
        "Quelle souplesse ! 🤸",
        "Dix sur dix ! 🏅",
        "Tout en équilibre ! 💪",
    ],
);

/// The words for a sport, however it is spelled.
pub(super) fn sport(name: &str) -> Sport {
    let end = name.char_indices().nth(LONGEST_NAME).map(|(end, _)| end);
    let name = end.and_then(|end| name.get(..end)).unwrap_or(name);
    let words: &'static Words = match plain(name).as_str() {
        "running" | "runing" | "course" | "course a pied" | "footing" | "jogging" => &RUNNING,
        "velo" | "cyclisme" => &CYCLING,
        "natation" => &SWIMMING,
        "randonnee" => &HIKING,
        "marche" => &WALKING,
        "triathlon" => &TRIATHLON,
        "tennis" => &TENNIS,
        "badminton" => &BADMINTON,
        "tennis de table" | "ping pong" => &TABLE_TENNIS,
        "football" => &FOOTBALL,
        "rugby" => &RUGBY,
        "basketball" | "basket" => &BASKETBALL,
        "escalade" => &CLIMBING,
        "judo" => &JUDO,
        "boxe" => &BOXING,
        "equitation" => &RIDING,
        "voile" => &SAILING,
        "gymnastique" => &GYMNASTICS,
        "autre" => return Sport::Other(String::new()),
        _ => {
            let name = quoted(name, SPORT);
            return Sport::Other(name.map_or(String::new(), |name| format!(" ({name})")));
        }
    };
    Sport::Known(words)
}
