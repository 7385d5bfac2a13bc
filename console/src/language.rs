//! The two languages of the page, and how each writes numbers and times.

use axum::http::{HeaderMap, header};
use chrono::{DateTime, Datelike, NaiveDate, Utc};
use chrono_tz::Tz;

/// Between the groups of a number, as French prints it: narrow, and no line ends there.
const NARROW_SPACE: char = '\u{202f}';
const HARD_SPACE: char = '\u{a0}';

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Language {
    #[default]
    French,
    English,
}

impl Language {
    pub(crate) fn code(self) -> &'static str {
        self.say("fr", "en")
    }

    pub(crate) fn of_code(code: &str) -> Option<Self> {
        match code {
            "fr" => Some(Self::French),
            "en" => Some(Self::English),
            _ => None,
        }
    }

    /// What a browser asks for first, of the two that there are; French where it says neither.
    pub(crate) fn accepted(headers: &HeaderMap) -> Self {
        let accepted = headers.get(header::ACCEPT_LANGUAGE);
        let accepted = accepted.and_then(|value| value.to_str().ok());
        let mut best = (0.0, Self::French);
        for range in accepted.unwrap_or_default().split(',').take(32) {
            let (tag, weight) = range.split_once(";q=").unwrap_or((range, "1"));
            let primary = tag.trim().split('-').next().unwrap_or_default();
            let weight: f32 = weight.trim().parse().unwrap_or(0.0);
            if let Some(language) = Self::of_code(&primary.to_ascii_lowercase())
                && weight > best.0
            {
                best = (weight, language);
            }
        }
        best.1
    }

    /// The text of this language.
    pub(crate) fn say(self, french: &'static str, english: &'static str) -> &'static str {
        match self {
            Self::French => french,
            Self::English => english,
        }
    }

    /// `1 234` and `1,234`
    pub(crate) fn whole(self, number: i128) -> String {
        let digits = number.unsigned_abs().to_string();
        let separator = match self {
            Self::French => NARROW_SPACE,
            Self::English => ',',
        };
        let mut grouped = String::with_capacity(digits.len() + digits.len() / 3 + 1);
        if number < 0 {
            grouped.push('-');
        }
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                grouped.push(separator);
            }
            grouped.push(digit);
        }
        grouped
    }

    /// A decimal number of so many units of `10^-scale`, none of its places lost: `1 234,50`, `1,234.50`.
    pub(crate) fn decimal(self, units: i128, scale: u32) -> String {
        let Some(one) = 10_i128.checked_pow(scale).filter(|_| scale > 0) else {
            return self.whole(units);
        };
        let sign = if units < 0 && units / one == 0 {
            "-"
        } else {
            ""
        };
        let places = (units % one).unsigned_abs();
        let mark = self.say(",", ".");
        let width = scale as usize;
        format!("{sign}{}{mark}{places:0width$}", self.whole(units / one))
    }

    /// A measure, with so many places.
    pub(crate) fn measure(self, value: f64, places: u32) -> String {
        let scaled = (value * 10_f64.powi(places.cast_signed())).round();
        match scaled.is_finite() && scaled.abs() < 1e30 {
            true => self.decimal(scaled as i128, places),
            false => "—".to_owned(),
        }
    }

    /// `1 234,50 €` and `€1,234.50`
    pub(crate) fn euros(self, units: i128, scale: u32) -> String {
        let amount = self.decimal(units, scale);
        match (self, amount.strip_prefix('-')) {
            (Self::French, _) => format!("{amount}{HARD_SPACE}€"),
            (Self::English, None) => format!("€{amount}"),
            (Self::English, Some(amount)) => format!("-€{amount}"),
        }
    }

    /// `12,3 ko` and `12.3 kB`
    pub(crate) fn bytes(self, bytes: u64) -> String {
        let units = match self {
            Self::French => ["o", "ko", "Mo", "Go", "To"],
            Self::English => ["B", "kB", "MB", "GB", "TB"],
        };
        let mut value = bytes as f64;
        let mut unit = 0;
        while value >= 1000.0 && unit + 1 < units.len() {
            value /= 1000.0;
            unit += 1;
        }
        let places = u32::from(unit > 0 && value < 100.0);
        format!("{}{HARD_SPACE}{}", self.measure(value, places), units[unit])
    }

    /// `12 s`, `3 min`, `2 h`, `4 j`: the one unit that says most.
    pub(crate) fn duration(self, seconds: i64) -> String {
        let seconds = seconds.max(0);
        let (value, unit) = match seconds {
            ..120 => (seconds, "s"),
            120..7_200 => (seconds / 60, "min"),
            7_200..172_800 => (seconds / 3_600, "h"),
            _ => (seconds / 86_400, self.say("j", "d")),
        };
        format!("{}{HARD_SPACE}{unit}", self.whole(value.into()))
    }

    /// `0,123 s`
    pub(crate) fn seconds(self, milliseconds: u64) -> String {
        format!("{}{HARD_SPACE}s", self.decimal(milliseconds.into(), 3))
    }

    /// Date and time in a zone: `29/11/2026 10:47:05`, `29 Nov 2026 10:47:05`
    pub(crate) fn moment(self, time: DateTime<Utc>, zone: Tz) -> String {
        let form = self.say("%d/%m/%Y %H:%M:%S", "%-d %b %Y %H:%M:%S");
        time.with_timezone(&zone).format(form).to_string()
    }

    pub(crate) fn date(self, date: NaiveDate) -> String {
        date.format(self.say("%d/%m/%Y", "%-d %b %Y")).to_string()
    }

    /// `nov. 2026`, `Nov 2026`
    pub(crate) fn month(self, date: NaiveDate) -> String {
        const FRENCH: [&str; 12] = [
            "janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.",
            "nov.", "déc.",
        ];
        match self {
            Self::French => format!("{} {}", FRENCH[date.month0() as usize], date.year()),
            Self::English => date.format("%b %Y").to_string(),
        }
    }

    /// The same where there is little room: `nov. 26`, `Nov 26`
    pub(crate) fn short_month(self, date: NaiveDate) -> String {
        let name = self.month(date);
        let (month, year) = name.split_once(' ').unwrap_or((&name, ""));
        format!("{month}{HARD_SPACE}{}", year.get(2..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(header: &str) -> Language {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, header.parse().expect("ascii"));
        Language::accepted(&headers)
    }

    #[test]
    fn the_browser_chooses_and_french_is_the_default() {
        assert_eq!(Language::accepted(&HeaderMap::new()), Language::French);
        assert_eq!(accepted("en-GB,en;q=0.9,fr;q=0.8"), Language::English);
        assert_eq!(accepted("de-DE, fr-CA;q=0.7, en;q=0.3"), Language::French);
        assert_eq!(accepted("de, *;q=0.5"), Language::French);
        assert_eq!(accepted("en;q=nonsense"), Language::French);
    }

    #[test]
    fn amounts_are_written_as_each_language_writes_them() {
        let (french, english) = (Language::French, Language::English);
        assert_eq!(french.euros(12_345_650, 2), "123\u{202f}456,50\u{a0}€");
        assert_eq!(english.euros(12_345_650, 2), "€123,456.50");
        assert_eq!(english.euros(-5, 2), "-€0.05");
        assert_eq!(french.decimal(-123_456, 3), "-123,456");
        assert_eq!(english.whole(1_000_000), "1,000,000");
        assert_eq!(french.measure(10.849, 1), "10,8");
        assert_eq!(english.measure(f64::NAN, 1), "—");
        assert_eq!(english.bytes(12_345), "12.3\u{a0}kB");
        assert_eq!(french.duration(90), "90\u{a0}s");
        assert_eq!(french.duration(400_000), "4\u{a0}j");
    }

    #[test]
    fn times_are_those_of_the_zone() {
        let summer = DateTime::from_timestamp(1_782_900_000, 0).expect("in range");
        let paris = chrono_tz::Europe::Paris;
        assert_eq!(
            Language::French.moment(summer, paris),
            "01/07/2026 12:00:00"
        );
        let day = NaiveDate::from_ymd_opt(2026, 2, 1).expect("a day");
        assert_eq!(Language::French.month(day), "févr. 2026");
        assert_eq!(Language::English.month(day), "Feb 2026");
        assert_eq!(Language::English.short_month(day), "Feb\u{a0}26");
    }
}
