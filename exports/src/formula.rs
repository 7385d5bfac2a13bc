//! Text that a spreadsheet would run.
//!
//! Source: OWASP, "CSV Injection".

use std::borrow::Cow;

/// Whether a spreadsheet may take a cell of that text for a formula.
pub(crate) fn is_one(text: &str) -> bool {
    let first = text.chars().next();
    first.is_some_and(|first| is_operator(first) || matches!(first, '\t' | '\r' | '\n'))
}

/// The text with an apostrophe before whatever a spreadsheet may take for a formula: at its beginning, and after what
/// separates cells in files of another country, for which our quotes may be in the middle of a cell.
pub(crate) fn defused(text: &str) -> Cow<'_, str> {
    let letters = || text.char_indices();
    let inside = letters()
        .zip(letters().skip(1))
        .filter(|((_, before), (_, letter))| {
            matches!(before, ',' | ';' | '\t' | '\r' | '\n') && is_operator(*letter)
        });
    let mut places: Vec<usize> = inside.map(|(_, (at, _))| at).collect();
    if is_one(text) {
        places.insert(0, 0);
    }
    if places.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + places.len());
    let mut rest = 0;
    for place in places {
        safe.push_str(&text[rest..place]);
        safe.push('\'');
        rest = place;
    }
    safe.push_str(&text[rest..]);
    Cow::Owned(safe)
}

fn is_operator(letter: char) -> bool {
    matches!(letter, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_known_by_their_first_letter() {
        for text in [
            "=1+1", "+33 6", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1",
        ] {
            assert!(is_one(text), "{text:?}");
        }
        for text in ["", "a=1", "'=1", " =1", "12", "1-2"] {
            assert!(!is_one(text), "{text:?}");
        }
    }

    #[test]
    fn formulas_are_defused_wherever_a_cell_may_begin() {
        for (text, safe) in [
            ("", ""),
            ("12, rue", "12, rue"),
            ("a=1; b", "a=1; b"),
            ("=1", "'=1"),
            ("\t=1", "'\t'=1"),
            ("é;=1,-2", "é;'=1,'-2"),
            ("a\n@b", "a\n'@b"),
        ] {
            assert_eq!(defused(text), safe);
        }
    }
}
