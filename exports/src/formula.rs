//! Text that a spreadsheet would run.
//!
//! Source: OWASP, "CSV Injection".

/// Whether a spreadsheet may take a cell of that text for a formula.
pub(crate) fn is_one(text: &str) -> bool {
    let first = text.chars().next();
    first.is_some_and(|first| {
        matches!(
            first,
            '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠'
        )
    })
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
}
