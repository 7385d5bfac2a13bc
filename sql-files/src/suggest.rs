use crate::nearest;

const SHOWN: usize = 20;

/// A hint that names the nearest candidate, or says what there is.
pub fn suggest<'a>(
    word: &str,
    what: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let all: Vec<&str> = candidates.into_iter().collect();
    if let Some(near) = nearest::name(word, all.iter().copied()) {
        return Some(format!("Did you mean \"{near}\"?"));
    }
    match all.len() {
        0 => None,
        count if count > SHOWN => Some(format!("{what} {}, ...", all[..SHOWN].join(", "))),
        _ => Some(format!("{what} {}.", all.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word_and_the_rest_a_list() {
        let names = ["employee_id", "bu", "salaire_brut"];
        let hint = |word| suggest(word, "Columns are", names).expect("a hint");
        assert_eq!(hint("emplyee_id"), "Did you mean \"employee_id\"?");
        assert_eq!(
            hint("distance"),
            "Columns are employee_id, bu, salaire_brut."
        );
    }
}
