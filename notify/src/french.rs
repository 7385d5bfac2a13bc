//! Quantities, small words and foreign texts as French writes them.

/// The longest that one activity is believed, in metres and in seconds.
const LONGEST_M: f64 = 1_000_000.0;
const LONGEST_S: f64 = 7.0 * 86_400.0;

/// Metres of one activity; nothing for what is no distance.
pub(crate) fn believed(metres: f64) -> Option<f64> {
    (0.5..=LONGEST_M).contains(&metres).then_some(metres)
}

/// `10,8 km`, `850 m`.
pub(crate) fn length(metres: f64) -> String {
    if metres < 999.5 {
        return format!("{metres:.0} m");
    }
    let km = format!("{:.1}", metres / 1000.0);
    let km = km.strip_suffix(".0").unwrap_or(&km).replace('.', ",");
    format!("{km} km")
}

/// `46 min`, `1 h 05`, `2 h`, `40 s`; nothing for what is no duration.
pub(crate) fn duration(seconds: f64) -> Option<String> {
    if !(0.5..=LONGEST_S).contains(&seconds) {
        return None;
    }
    if seconds < 59.5 {
        return Some(format!("{seconds:.0} s"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the bounds above"
    )]
    let minutes = (seconds / 60.0).round() as u64;
    Some(match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes:02}"),
    })
}

/// `3 activités`, `1 activité`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let ending = if count < 2 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// `de courir`, `d'escalader`, `d'habiter`.
pub(crate) fn de(words: &str) -> String {
    let first = plain(words).chars().next();
    let elides = first.is_some_and(|letter| "aeiouyh".contains(letter));
    if elides {
        format!("d'{words}")
    } else {
        format!("de {words}")
    }
}

/// `a, b et c`.
pub(crate) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} et {last}", most.join(", ")),
    }
}

/// A word as it is compared: lower case, without accents, hyphens and doubled spaces.
pub(crate) fn plain(text: &str) -> String {
    let folded: String = text
        .chars()
        .flat_map(char::to_lowercase)
        .filter(|letter| !('\u{300}'..='\u{36f}').contains(letter))
        .map(|letter| match letter {
            'à' | 'â' | 'ä' => 'a',
            'é' | 'è' | 'ê' | 'ë' => 'e',
            'î' | 'ï' => 'i',
            'ô' | 'ö' => 'o',
            'ù' | 'û' | 'ü' => 'u',
            'ç' => 'c',
            letter if letter.is_alphanumeric() => letter,
            _ => ' ',
        })
        .collect();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text that somebody else wrote, on one line, of at most so many letters, and without a meaning of its own to Slack.
/// Nothing when no letter is left.
pub(crate) fn quoted(text: &str, longest: usize) -> Option<String> {
    let visible: String = text
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control() && !is_invisible(*c))
        .take(longest * 4)
        .collect();
    let line = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        return None;
    }
    let mut short: String = line.chars().take(longest).collect();
    if short.len() < line.len() {
        short = short.trim_end().to_owned() + "…";
    }
    // `&` first: the others bring their own.
    Some(
        short
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;"),
    )
}

/// Characters that turn the direction of a text, or hide in it.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (metres, expected) in [
            (10_840.0, Some("10,8 km")),
            (10_040.0, Some("10 km")),
            (999.6, Some("1 km")),
            (850.4, Some("850 m")),
            (0.0, None),
            (-5.0, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
            (1_000_000.0, Some("1000 km")),
            (1_000_001.0, None),
        ] {
            let said = believed(metres).map(length);
            assert_eq!(said.as_deref(), expected, "{metres}");
        }
    }

    #[test]
    fn durations() {
        for (seconds, expected) in [
            (2760.0, Some("46 min")),
            (3600.0, Some("1 h")),
            (3900.0, Some("1 h 05")),
            (3599.0, Some("1 h")),
            (7385.0, Some("2 h 03")),
            (40.0, Some("40 s")),
            (59.7, Some("1 min")),
            (604_800.0, Some("168 h")),
            (604_801.0, None),
            (-2760.0, None),
            (0.0, None),
            (f64::NAN, None),
        ] {
            assert_eq!(duration(seconds).as_deref(), expected, "{seconds}");
        }
    }

    #[test]
    fn small_words() {
        assert_eq!(de("courir"), "de courir");
        assert_eq!(de("escalader"), "d'escalader");
        assert_eq!(de("Équitation"), "d'Équitation");
        assert_eq!(counted(0, "activité"), "0 activité");
        assert_eq!(counted(1, "activité"), "1 activité");
        assert_eq!(counted(2, "autre"), "2 autres");
        let items = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(list(&items), "a, b et c");
        assert_eq!(list(&items[..1]), "a");
    }

    #[test]
    fn foreign_texts_mean_nothing_to_slack() {
        let check = |text: &str, expected: &str| {
            assert_eq!(quoted(text, 20).as_deref(), Some(expected), "{text:?}");
        };
        check(" a\n\tb ", "a b");
        check("<!channel> & co", "&lt;!channel&gt; &amp; co");
        check("a\u{202e}b\u{200b}c\u{7}", "abc");
        check("0123456789012345678 0123", "0123456789012345678…");
        assert_eq!(quoted("\u{200b}\n", 20), None);
    }
}
