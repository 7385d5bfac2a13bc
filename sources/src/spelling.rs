/// Text as it is compared: without accents, hyphens, apostrophes, case and doubled spaces; `st` and `ste` written out.
pub(crate) fn plain(text: &str) -> String {
    words(text).join(" ")
}

pub(crate) fn words(text: &str) -> Vec<String> {
    let folded: String = text.chars().flat_map(fold).collect();
    folded
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| match word {
            "st" => "saint".to_owned(),
            "ste" => "sainte".to_owned(),
            word => word.to_owned(),
        })
        .collect()
}

/// The letters of French, and of the names that live in France.
fn fold(letter: char) -> impl Iterator<Item = char> {
    let plain = match letter {
        'à' | 'â' | 'ä' | 'á' | 'ã' | 'å' | 'À' | 'Â' | 'Ä' | 'Á' | 'Ã' | 'Å' => "a",
        'ç' | 'Ç' => "c",
        'é' | 'è' | 'ê' | 'ë' | 'É' | 'È' | 'Ê' | 'Ë' => "e",
        'î' | 'ï' | 'í' | 'ì' | 'Î' | 'Ï' | 'Í' | 'Ì' => "i",
        'ñ' | 'Ñ' => "n",
        'ô' | 'ö' | 'ó' | 'ò' | 'õ' | 'Ô' | 'Ö' | 'Ó' | 'Ò' | 'Õ' => "o",
        'ù' | 'û' | 'ü' | 'ú' | 'Ù' | 'Û' | 'Ü' | 'Ú' => "u",
        'ÿ' | 'Ÿ' => "y",
        'œ' | 'Œ' => "oe",
        'æ' | 'Æ' => "ae",
        // A combining accent belongs to the letter before it.
        '\u{300}'..='\u{36f}' => "",
        other => return Folded::Letter(other.to_lowercase()),
    };
    Folded::Plain(plain.chars())
}

enum Folded {
    Plain(std::str::Chars<'static>),
    Letter(std::char::ToLowercase),
}

impl Iterator for Folded {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self {
            Self::Plain(letters) => letters.next(),
            Self::Letter(letters) => letters.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_text_are_equal() {
        for text in ["Date d'embauche", "date  d’Embauche ", "DATE D'EMBAUCHE"] {
            assert_eq!(plain(text), "date d embauche");
        }
        assert_eq!(
            plain("Ste-Croix-de-Quintillargues"),
            "sainte croix de quintillargues"
        );
        assert_eq!(plain("E\u{301}quitation"), plain("Équitation"));
        assert_eq!(plain("Œuvre"), "oeuvre");
    }
}
