//! Which name a user may have meant.

/// The candidate nearest to `name`, when one is near enough to be meant.
pub fn name<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    let length = wanted.chars().count();
    let limit = (length / 3).max(2);
    candidates
        .into_iter()
        // What differs by more in length alone is not looked at: a word may be as long as a file.
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= limit)
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&wanted, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, candidate)| (*distance, candidate.len()))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let names = ["distance_m", "duree_s", "id"];
        assert_eq!(name("distnace_m", names), Some("distance_m"));
        assert_eq!(name("salaire", names), None);
    }
}
