//! What is said of an activity. The same activity is always told in the same words.

mod sports;

use crate::activity::Activity;
use crate::french::{believed, counted, de, duration, length, list, quoted};
use sports::{Sport, sport};

/// Letters of a comment, a first name and a sport, at most.
const COMMENT: usize = 280;
const NAME: usize = 60;
const SPORT: usize = 60;

/// Activities that a digest names; the others are counted.
const NAMED: usize = 8;

const OPENINGS: [&str; 6] = [
    "Bravo",
    "Félicitations",
    "Chapeau",
    "Magnifique",
    "Bien joué",
    "Superbe",
];

const DIGEST_OPENINGS: [&str; 4] = [
    "Quelle équipe !",
    "Ça bouge chez nous !",
    "Belle énergie collective !",
    "L'équipe est en forme !",
];

/// Verbs of what is over, at the beginning of what one did.
const FINISHING: [&str; 2] = ["terminer ", "boucler "];

const SOMEBODY: &str = "un membre de l'équipe";

/// What is posted, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub text: String,
    /// The activities that it tells.
    pub ids: Vec<i64>,
}

/// Tells one activity, of somebody whose first name may be unknown.
pub(crate) fn tell(activity: &Activity, name: Option<&str>) -> String {
    let mut choice = Choice::of(activity.id);
    let sport = sport(&activity.sport);
    let name = name.and_then(|name| quoted(name, NAME));
    let opening = choice.of_these(&OPENINGS);
    let (opening, you) = match &name {
        Some(name) => (format!("{opening} {name} !"), "Tu viens"),
        None => (format!("{opening} !"), "Un membre de l'équipe vient"),
    };
    let how_far = metres(activity, &sport).map(length);
    let how_long = activity.duree_s.and_then(duration);
    let deed = if choice.next().is_multiple_of(3) {
        noun_phrase(&sport, how_far, how_long, name.is_none())
    } else {
        let (doing, covers) = match (&sport, how_far) {
            (Sport::Known(sport), Some(far)) if !sport.over.is_empty() => {
                (choice.of_these(sport.over).replace("{}", &far), true)
            }
            (Sport::Known(sport), _) => (choice.of_these(sport.doing).to_owned(), false),
            (Sport::Other(sport), _) => (format!("terminer une séance de sport{sport}"), false),
        };
        // What is finished takes its time; what one does lasts.
        let is_finished = covers || FINISHING.iter().any(|verb| doing.starts_with(verb));
        let time = time(how_long, if is_finished { "en" } else { "pendant" });
        format!("{you} {}{time} !", de(&doing))
    };
    let closing = match &sport {
        Sport::Known(sport) => choice.of_these(sport.closings),
        Sport::Other(_) => choice.of_these(&sports::CLOSINGS),
    };
    let comment = activity.comment.as_deref().and_then(|c| quoted(c, COMMENT));
    let comment = comment.map_or(String::new(), |comment| format!(" (« {comment} »)"));
    format!("{opening} {deed} {closing}{comment}")
}

/// `Une randonnée de 10 km terminée en 2 h 05 !`
fn noun_phrase(
    sport: &Sport,
    how_far: Option<String>,
    how_long: Option<String>,
    anonymous: bool,
) -> String {
    let (noun, done) = match sport {
        Sport::Known(sport) => (sport.noun.to_owned(), sport.done),
        Sport::Other(sport) => (format!("une séance de sport{sport}"), "terminée"),
    };
    let far = how_far.map_or(String::new(), |far| format!(" de {far}"));
    let by = if anonymous {
        " par un membre de l'équipe"
    } else {
        ""
    };
    let mut phrase = format!("{noun}{far} {done}{by}{} !", time(how_long, "en"));
    if let Some(first) = phrase.get(..1) {
        phrase.replace_range(..1, &first.to_uppercase());
    }
    phrase
}

fn time(how_long: Option<String>, preposition: &str) -> String {
    how_long.map_or(String::new(), |long| format!(" {preposition} {long}"))
}

/// Tells many activities at once; the first of them decides the words.
pub(crate) fn digest<'a>(told: impl Iterator<Item = (&'a Activity, Option<String>)>) -> Message {
    let mut named = Vec::new();
    let mut ids = Vec::new();
    let mut total = 0.0;
    for (activity, name) in told {
        ids.push(activity.id);
        total += metres(activity, &sport(&activity.sport)).unwrap_or(0.0);
        if named.len() < NAMED {
            named.push(item(activity, name.as_deref()));
        }
    }
    let mut choice = Choice::of(ids.first().copied().unwrap_or(0));
    let opening = choice.of_these(&DIGEST_OPENINGS);
    if ids.len() > named.len() {
        named.push(counted(ids.len() - named.len(), "autre"));
    }
    let verb = if ids.len() < 2 { "vient" } else { "viennent" };
    let count = counted(ids.len(), "activité");
    let total = if total > 0.0 {
        format!(" En tout : {}.", length(total))
    } else {
        String::new()
    };
    let text = format!(
        "{opening} {count} {verb} de s'achever : {}.{total}",
        list(&named)
    );
    Message { text, ids }
}

/// Metres, where the sport is one over a distance and they can be believed.
fn metres(activity: &Activity, sport: &Sport) -> Option<f64> {
    let is_over_a_distance = match sport {
        Sport::Known(sport) => !sport.over.is_empty(),
        Sport::Other(_) => true,
    };
    let metres = activity.distance_m.filter(|_| is_over_a_distance)?;
    believed(metres)
}

/// `Juliette (course à pied, 10,8 km)`
fn item(activity: &Activity, name: Option<&str>) -> String {
    let name = name.and_then(|name| quoted(name, NAME));
    let sport = sport(&activity.sport);
    let label = match &sport {
        Sport::Known(sport) => sport.label.to_owned(),
        Sport::Other(_) => quoted(&activity.sport, SPORT).unwrap_or_else(|| "sport".to_owned()),
    };
    let how_far = metres(activity, &sport).map(length);
    let measure = how_far.or_else(|| activity.duree_s.and_then(duration));
    let measure = measure.map_or(String::new(), |measure| format!(", {measure}"));
    format!("{} ({label}{measure})", name.as_deref().unwrap_or(SOMEBODY))
}

/// Choices that look random and are those of the number they begin with (Steele, Lea and Flood's SplitMix).
struct Choice(u64);

impl Choice {
    fn of(id: i64) -> Self {
        Self(id.cast_unsigned())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn of_these<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        let count = texts.len().max(1) as u64;
        let at = usize::try_from(self.next() % count).unwrap_or(0);
        texts.get(at).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
