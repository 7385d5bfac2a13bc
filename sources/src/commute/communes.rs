use std::collections::HashMap;
use std::sync::LazyLock;

use super::estimate::Position;
use crate::spelling::plain;

/// A commune of the table, by its main settlement or its town hall.
#[derive(Debug, Clone, PartialEq)]
pub struct Commune {
    pub name: &'static str,
    pub postcodes: Vec<&'static str>,
    pub position: Position,
}

/// The communes of France; `sources/data/README.md` says where they come from, and which are missing.
#[derive(Debug)]
pub struct Communes {
    communes: Vec<Commune>,
    by_name: HashMap<String, Vec<usize>>,
    longest_name: usize,
}

static BUNDLED: LazyLock<Communes> =
    LazyLock::new(|| Communes::parse(include_str!("../../data/communes.tsv")));

impl Communes {
    pub fn bundled() -> &'static Self {
        &BUNDLED
    }

    /// The communes of that name; accents, hyphens, case and the short form `St` do not matter.
    pub fn named(&self, name: &str) -> Vec<&Commune> {
        self.indexes(&plain(name))
    }

    /// The communes named by the end of the text, by the longest name that fits, and the words before that name.
    pub(crate) fn at_the_end_of<'a>(&self, words: &'a [String]) -> (Vec<&Commune>, &'a [String]) {
        let longest = self.longest_name.min(words.len());
        (1..=longest)
            .rev()
            .map(|count| words.split_at(words.len() - count))
            .map(|(before, name)| (self.indexes(&name.join(" ")), before))
            .find(|(found, _)| !found.is_empty())
            .unwrap_or_default()
    }

    fn indexes(&self, plain_name: &str) -> Vec<&Commune> {
        let found = self.by_name.get(plain_name).map_or(&[][..], Vec::as_slice);
        found.iter().map(|at| &self.communes[*at]).collect()
    }

    fn parse(table: &'static str) -> Self {
        let communes: Vec<Commune> = table
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(commune)
            .collect();
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, commune) in communes.iter().enumerate() {
            by_name.entry(plain(commune.name)).or_default().push(at);
        }
        let words = |name: &String| name.split(' ').count();
        let longest_name = by_name.keys().map(words).max().unwrap_or(0);
        Self {
            communes,
            by_name,
            longest_name,
        }
    }
}

fn commune(line: &'static str) -> Option<Commune> {
    let mut fields = line.split('\t').skip(1);
    Some(Commune {
        name: fields.next()?,
        postcodes: fields.next()?.split(' ').collect(),
        position: Position {
            latitude: fields.next()?.parse().ok()?,
            longitude: fields.next()?.parse().ok()?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        let lines = include_str!("../../data/communes.tsv")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .count();
        assert_eq!(Communes::bundled().communes.len(), lines);
        assert!(lines > 34_000, "{lines}");
    }

    #[test]
    fn names_match_however_they_are_written() {
        for name in [
            "Saint-Jean-de-Védas",
            "SAINT JEAN DE VEDAS",
            "st jean de vedas",
            "Saint‑Jean‑de‑Védas",
        ] {
            assert_eq!(Communes::bundled().named(name).len(), 1, "{name}");
        }
        assert!(Communes::bundled().named("Bruxelles").is_empty());
    }
}
