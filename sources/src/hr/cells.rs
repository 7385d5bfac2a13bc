//! What a cell means. A blank cell is `None`; what cannot be read for sure is a fault, never a guess.

use calamine::{Data, DataType};
use chrono::{Datelike, NaiveDate};

use super::employee::Cents;
use super::sheet::Fault;

type Read<T> = Result<Option<T>, Fault>;

const YEARS: std::ops::RangeInclusive<i32> = 1900..=2100;

/// Text without stray spaces; a number stands for its digits.
pub(super) fn text(cell: &Data) -> Read<String> {
    match cell {
        Data::Empty => Ok(None),
        Data::String(text) => {
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            Ok(Some(text).filter(|text| !text.is_empty()))
        }
        Data::Int(number) => Ok(Some(number.to_string())),
        Data::Float(number) => Ok(Some(number.to_string())),
        Data::Error(_) => Err(formula_error()),
        _ => Err(Fault::new("not text", "Write text in this cell.")),
    }
}

/// A whole number, stored as a number or as its digits.
pub(super) fn whole_number(cell: &Data) -> Read<i64> {
    let fault = || {
        Fault::new(
            "not a whole number",
            "Write a whole number, without unit or decimals.",
        )
    };
    match cell {
        Data::Empty => Ok(None),
        Data::Int(number) => Ok(Some(*number)),
        #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
        Data::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
            Ok(Some(*number as i64))
        }
        Data::String(digits) => {
            let digits = without_spaces(digits);
            match digits.as_str() {
                "" => Ok(None),
                digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                    digits.parse().map(Some).map_err(|_| fault())
                }
                _ => Err(fault()),
            }
        }
        Data::Error(_) => Err(formula_error()),
        _ => Err(fault()),
    }
}

/// An amount in euros, rounded half-up to the cent; a number, or text that can only mean one.
pub(super) fn money(cell: &Data) -> Read<Cents> {
    let (digits, from_text) = match cell {
        Data::Empty => return Ok(None),
        Data::Int(number) => (number.to_string(), false),
        Data::Float(number) => (decimal_text(*number), false),
        Data::String(text) => (without_spaces(text), true),
        Data::Error(_) => return Err(formula_error()),
        _ => (String::new(), false),
    };
    let digits = digits.trim_end_matches(['€']).replace(',', ".");
    if digits.is_empty() && from_text {
        return Ok(None);
    }
    let (whole, decimals) = digits.split_once('.').unwrap_or((&digits, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(decimals) {
        return Err(Fault::new(
            "not an amount",
            "Write the amount as a number, for example 30940 or 30940.50.",
        ));
    }
    // "30.940" is thirty thousand to some and thirty to others.
    if from_text && decimals.len() > 2 {
        return Err(Fault::new(
            "an amount that can be read in two ways",
            "Write the amount as a number, for example 30940 or 30940.50.",
        ));
    }
    let cents = cents(whole, decimals).filter(|cents| *cents < 1_000_000_000_000);
    match cents {
        Some(cents) => Ok(Some(Cents(cents))),
        None => Err(Fault::new(
            "an amount out of range",
            "Amounts are below 10 000 000 000 euros.",
        )),
    }
}

/// A day: an Excel date, or text as `d/m/yyyy` or `yyyy-mm-dd`.
pub(super) fn date(cell: &Data) -> Read<NaiveDate> {
    let fault = || {
        Fault::new(
            "not a date",
            "Write an Excel date, or text like 14/07/1989 (day, month, year).",
        )
    };
    let day = match cell {
        Data::Empty => return Ok(None),
        Data::DateTime(_) | Data::DateTimeIso(_) => cell.as_date(),
        Data::String(text) => match text.trim() {
            "" => return Ok(None),
            text => day(text),
        },
        Data::Error(_) => return Err(formula_error()),
        _ => None,
    };
    day.filter(|day| YEARS.contains(&day.year()))
        .map(Some)
        .ok_or_else(fault)
}

fn day(text: &str) -> Option<NaiveDate> {
    let parts = |separator| {
        let parts: Vec<&str> = text.split(separator).collect();
        <[&str; 3]>::try_from(parts).ok()
    };
    let [day, month, year] = match (parts('/'), parts('-')) {
        (Some(parts), _) => parts,
        (None, Some([year, month, day])) => [day, month, year],
        (None, None) => return None,
    };
    let all_digits = [day, month, year]
        .concat()
        .bytes()
        .all(|byte| byte.is_ascii_digit());
    if year.len() != 4 || !all_digits {
        return None;
    }
    NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)
}

/// The decimal number a cell shows: Excel keeps 15 significant digits, the rest is noise of binary fractions.
fn decimal_text(number: f64) -> String {
    let scientific = format!("{number:.14e}");
    let shown: f64 = scientific.parse().unwrap_or(number);
    shown.to_string()
}

fn cents(whole: &str, decimals: &str) -> Option<i64> {
    let digit = |at: usize| {
        decimals
            .as_bytes()
            .get(at)
            .map_or(0, |digit| i64::from(digit - b'0'))
    };
    let whole: i64 = whole.parse().ok()?;
    let half_up = i64::from(digit(2) >= 5);
    whole
        .checked_mul(100)?
        .checked_add(digit(0) * 10 + digit(1) + half_up)
}

/// Without spaces, the narrow and unbreakable ones that separate thousands included.
fn without_spaces(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

fn formula_error() -> Fault {
    Fault::new(
        "a formula that failed",
        "Correct the formula, or write its value.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Data {
        Data::String(text.to_owned())
    }

    #[track_caller]
    fn check_money(cell: &Data, expected: &str) {
        let read = money(cell).expect("an amount").expect("not blank");
        assert_eq!(read.to_string(), expected, "{cell:?}");
    }

    #[test]
    fn amounts_are_exact_to_the_cent() {
        check_money(&Data::Int(30940), "30940.00");
        check_money(&Data::Float(30940.0), "30940.00");
        check_money(&Data::Float(30940.34), "30940.34");
        check_money(&Data::Float(0.1 + 0.2), "0.30");
        check_money(&Data::Float(1.005), "1.01");
        check_money(&Data::Float(2.675), "2.68");
        check_money(&Data::Float(30_940.344_999_999_998), "30940.35");
        check_money(&Data::Float(9_999_999_999.99), "9999999999.99");
        check_money(&string("30 940"), "30940.00");
        check_money(&string("30\u{202f}940,5 €"), "30940.50");
        check_money(&string("30940.25"), "30940.25");
    }

    #[test]
    fn what_is_no_amount_is_a_fault() {
        for text in [
            "environ 30k",
            "30.940",
            "30,940",
            "-1",
            "1e5",
            "30940.-",
            "NaN",
            "12/2",
            "²",
        ] {
            assert!(money(&string(text)).is_err(), "{text}");
        }
        for number in [f64::NAN, f64::INFINITY, -5.0, 1e10, 1e300] {
            assert!(money(&Data::Float(number)).is_err(), "{number}");
        }
        assert_eq!(money(&string("  ")), Ok(None));
        assert_eq!(money(&Data::Empty), Ok(None));
    }

    #[test]
    fn dates_are_read_as_french_text_or_excel_dates() {
        let bastille = NaiveDate::from_ymd_opt(1989, 7, 14);
        for text in ["14/7/1989", "14/07/1989", " 14/07/1989 ", "1989-07-14"] {
            assert_eq!(date(&string(text)), Ok(bastille), "{text}");
        }
        let kind = calamine::ExcelDateTimeType::DateTime;
        let serial = calamine::ExcelDateTime::new(32703.0, kind, false);
        assert_eq!(date(&Data::DateTime(serial)), Ok(bastille));
        for text in [
            "7/14/1989",
            "31/02/2020",
            "14/07/89",
            "juillet 1989",
            "1/1/0001",
            "//",
            "1-2",
        ] {
            assert!(date(&string(text)).is_err(), "{text}");
        }
        assert!(date(&Data::Float(32703.0)).is_err());
    }

    #[test]
    fn whole_numbers_may_be_text() {
        assert_eq!(whole_number(&string(" 59019 ")), Ok(Some(59019)));
        assert_eq!(whole_number(&Data::Float(59019.0)), Ok(Some(59019)));
        for text in ["59a", "5.5", "-3", "99999999999999999999"] {
            assert!(whole_number(&string(text)).is_err(), "{text}");
        }
        assert!(whole_number(&Data::Float(5.5)).is_err());
        assert!(whole_number(&Data::Bool(true)).is_err());
    }

    #[test]
    fn text_loses_stray_spaces_only() {
        assert_eq!(
            text(&string("  Runing \u{a0}x ")),
            Ok(Some("Runing x".to_owned()))
        );
        assert_eq!(text(&string("   ")), Ok(None));
        assert_eq!(text(&Data::Float(12.0)), Ok(Some("12".to_owned())));
    }
}
