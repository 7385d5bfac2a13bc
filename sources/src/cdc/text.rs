//! PostgreSQL's texts of values, made into the JSON that Debezium writes for them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{Datelike, NaiveDate};

use super::kind::Kind;

/// Writes the value; `None`, with nothing written, where the text is none of the kind.
pub(super) fn write(kind: &Kind, text: &str, out: &mut Vec<u8>) -> Option<()> {
    match kind {
        Kind::Bool => out.extend_from_slice(match text {
            "t" | "1" => b"true",
            "f" | "0" => b"false",
            _ => return None,
        }),
        Kind::Int16 | Kind::Int32 | Kind::Int64 => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let is_number = digits.bytes().all(|b| b.is_ascii_digit())
                && (digits.len() == 1 || !digits.starts_with('0'));
            (!digits.is_empty() && is_number).then_some(())?;
            out.extend_from_slice(text.as_bytes());
        }
        Kind::Float32 | Kind::Float64 | Kind::DecimalDouble => float(kind, text, out)?,
        Kind::Text(_) | Kind::Enum(_) | Kind::DecimalText { .. } => string(text, out),
        Kind::Decimal { .. } | Kind::VariableDecimal => decimal(kind, text, out)?,
        Kind::Date { .. } => number(date(text)?, out),
        Kind::TimeMillis { .. } => number(time(text)? / 1000, out),
        Kind::TimeMicros => number(time(text)?, out),
        Kind::TimeWithZone => string(&time_with_zone(text)?, out),
        Kind::TimestampMillis { .. } => number(
            match timestamp(text)? {
                i64::MAX => MILLIS_INFINITY,
                i64::MIN => MILLIS_MINUS_INFINITY,
                micros => micros.div_euclid(1000),
            },
            out,
        ),
        Kind::TimestampMicros => number(timestamp(text)?, out),
        Kind::TimestampWithZone { digits } => string(&timestamp_with_zone(text, *digits)?, out),
        Kind::Interval => number(interval(text)?, out),
        Kind::Bytes => base64(&hex(text)?, out),
        Kind::Bits(_) => base64(&bits(text)?, out),
        Kind::Array(element) => array(element, text, out)?,
    }
    Some(())
}

/// A JSON string.
pub(super) fn string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escape = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..0x20 => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[start..at]);
        out.extend_from_slice(&[b'\\', escape]);
        if escape == b'u' {
            let low = HEX[usize::from(byte & 0xf)];
            out.extend_from_slice(&[b'0', b'0', HEX[usize::from(byte >> 4)], low]);
        }
        start = at + 1;
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

pub(super) fn number(number: i64, out: &mut Vec<u8>) {
    use std::io::Write as _;
    // Writing into memory cannot fail.
    let _ = write!(out, "{number}");
}

fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
}

/// As Java writes it: never without a point, and what is no number as a text.
fn float(kind: &Kind, text: &str, out: &mut Vec<u8>) -> Option<()> {
    if matches!(text, "NaN" | "Infinity" | "-Infinity") {
        string(text, out);
        return Some(());
    }
    if *kind == Kind::DecimalDouble {
        let value: f64 = text.parse().ok()?;
        match value.is_finite() {
            true => out.extend_from_slice(format!("{value:?}").as_bytes()),
            false => string(if value > 0.0 { "Infinity" } else { "-Infinity" }, out),
        }
        return Some(());
    }
    // JSON's own grammar, which a consumer must be able to read.
    let is_bare = !text.bytes().any(|byte| byte.is_ascii_whitespace());
    serde_json::from_str::<f64>(text).ok().filter(|_| is_bare)?;
    out.extend_from_slice(text.as_bytes());
    if !text.bytes().any(|byte| matches!(byte, b'.' | b'e')) {
        out.extend_from_slice(b".0");
    }
    Some(())
}

fn decimal(kind: &Kind, text: &str, out: &mut Vec<u8>) -> Option<()> {
    // Debezium has no form for what is no number.
    if matches!(text, "NaN" | "Infinity" | "-Infinity") {
        out.extend_from_slice(b"null");
        return Some(());
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let own_scale = i32::try_from(fraction.len()).ok()?;
    let mut digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(())?;
    if let Kind::Decimal { scale, .. } = kind {
        let shift = scale - own_scale;
        match usize::try_from(shift) {
            Ok(zeros) => digits.extend(std::iter::repeat_n('0', zeros)),
            // A negative scale: the text ends in that many zeros.
            Err(_) => digits.truncate(digits.len().saturating_sub(usize::try_from(-shift).ok()?)),
        }
    }
    let unscaled = STANDARD.encode(twos_complement(&digits, whole.starts_with('-')));
    if *kind == Kind::VariableDecimal {
        out.extend_from_slice(
            format!(r#"{{"scale":{own_scale},"value":"{unscaled}"}}"#).as_bytes(),
        );
    } else {
        out.extend_from_slice(format!("\"{unscaled}\"").as_bytes());
    }
    Some(())
}

/// The shortest big-endian form of a number of any size.
fn twos_complement(digits: &str, negative: bool) -> Vec<u8> {
    let mut bytes = vec![0_u8];
    for chunk in digits.as_bytes().chunks(9) {
        let (mut carry, mut by) = (0_u64, 1_u64);
        for digit in chunk {
            carry = carry * 10 + u64::from(digit - b'0');
            by *= 10;
        }
        for byte in bytes.iter_mut().rev() {
            let product = u64::from(*byte) * by + carry;
            *byte = (product & 0xff) as u8;
            carry = product >> 8;
        }
        while carry > 0 {
            bytes.insert(0, (carry & 0xff) as u8);
            carry >>= 8;
        }
    }
    if negative {
        let mut borrow = true;
        for byte in bytes.iter_mut().rev() {
            (*byte, borrow) = (!*byte).overflowing_add(u8::from(borrow));
        }
        // The sign of a magnitude that fills its first byte needs another one.
        if bytes[0] < 0x80 && digits.bytes().any(|digit| digit != b'0') {
            bytes.insert(0, 0xff);
        }
        while bytes.len() > 1 && bytes[0] == 0xff && bytes[1] >= 0x80 {
            bytes.remove(0);
        }
    } else {
        if bytes[0] >= 0x80 {
            bytes.insert(0, 0);
        }
        while bytes.len() > 1 && bytes[0] == 0 && bytes[1] < 0x80 {
            bytes.remove(0);
        }
    }
    bytes
}

/// Debezium's milliseconds of what never ends.
const MILLIS_INFINITY: i64 = 9_223_372_036_825_200_000;
const MILLIS_MINUS_INFINITY: i64 = -9_223_372_036_832_400_000;

/// Debezium's days of what never ends.
const DATE_INFINITY: i64 = 2_146_033_979;
const DATE_MINUS_INFINITY: i64 = -2_147_472_691;

/// Days since 1970.
fn date(text: &str) -> Option<i64> {
    match text {
        "infinity" => return Some(DATE_INFINITY),
        "-infinity" => return Some(DATE_MINUS_INFINITY),
        _ => {}
    }
    let (text, before_christ) = match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let mut parts = text.split('-');
    let year: i32 = parts.next()?.parse().ok()?;
    let (month, day) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let year = if before_christ { 1 - year } else { year };
    match NaiveDate::from_ymd_opt(year, month, day) {
        Some(date) => Some(i64::from(date.to_epoch_days())),
        // The calendar repeats every 400 years of 146,097 days; PostgreSQL's years go further than chrono's.
        None => {
            let cycles = i64::from(year.div_euclid(400));
            let date = NaiveDate::from_ymd_opt(year.rem_euclid(400), month, day)?;
            Some(i64::from(date.num_days_from_ce()) - 719_163 + cycles * 146_097)
        }
    }
}

/// Microseconds since midnight; `24:00:00` is one of them.
fn time(text: &str) -> Option<i64> {
    i64::try_from(clock(text)?).ok()
}

/// Microseconds of `hours:minutes:seconds`, each in 64 bits.
fn clock(text: &str) -> Option<i128> {
    let mut parts = text.split(':');
    let hours: i64 = parts.next()?.parse().ok()?;
    let minutes: i64 = parts.next()?.parse().ok()?;
    let seconds = micros(parts.next().unwrap_or("0"))?;
    Some((i128::from(hours) * 3600 + i128::from(minutes) * 60) * 1_000_000 + seconds)
}

/// Microseconds of seconds with a fraction of at most six digits.
fn micros(seconds: &str) -> Option<i128> {
    let (negative, seconds) = match seconds.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, seconds),
    };
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let whole: i64 = whole.parse().ok()?;
    let fraction: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    let micros = i128::from(whole) * 1_000_000 + i128::from(fraction);
    Some(if negative { -micros } else { micros })
}

/// Microseconds since 1970; the ends of the range for what never ends.
fn timestamp(text: &str) -> Option<i64> {
    match text {
        "infinity" => return Some(i64::MAX),
        "-infinity" => return Some(i64::MIN),
        _ => {}
    }
    let (text, era) = match text.strip_suffix(" BC") {
        Some(text) => (text, " BC"),
        None => (text, ""),
    };
    let (day, at) = text.split_once(' ')?;
    let days = date(&format!("{day}{era}"))?;
    days.checked_mul(86_400_000_000)?.checked_add(time(at)?)
}

/// `2025-11-01 05:42:13.1234+00` of a session in UTC, as ISO 8601.
fn timestamp_with_zone(text: &str, digits: usize) -> Option<String> {
    if matches!(text, "infinity" | "-infinity") {
        return Some(text.to_owned());
    }
    let (text, before_christ) = match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let (day, at) = text.strip_suffix("+00")?.split_once(' ')?;
    let day = match (before_christ, day.split_once('-')?) {
        (true, (year, rest)) => {
            let year = 1 - year.parse::<i64>().ok()?;
            if year == 0 {
                format!("0000-{rest}")
            } else {
                format!("-{:04}-{rest}", -year)
            }
        }
        (false, (year, _)) if year.len() > 4 => format!("+{day}"),
        (false, _) => day.to_owned(),
    };
    let at = match (at.split_once('.'), digits) {
        (Some((at, fraction)), _) => format!("{at}.{fraction:0<digits$}"),
        (None, 0) => at.to_owned(),
        (None, _) => format!("{at}.{:0<digits$}", ""),
    };
    Some(format!("{day}T{at}Z"))
}

/// `05:42:13.5+02`, in UTC.
fn time_with_zone(text: &str) -> Option<String> {
    const DAY: i64 = 86_400_000_000;
    let sign_at = text.rfind(['+', '-'])?;
    let (at, zone) = text.split_at(sign_at);
    let offset = time(&match zone[1..].matches(':').count() {
        0 => format!("{}:00", &zone[1..]),
        _ => zone[1..].to_owned(),
    })?;
    let local = time(at)?;
    let utc = if zone.starts_with('-') {
        local.checked_add(offset)?
    } else {
        local.checked_sub(offset)?
    };
    let utc = utc.rem_euclid(DAY);
    let (seconds, fraction) = (utc / 1_000_000, utc % 1_000_000);
    let clock = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    Some(match fraction {
        0 => format!("{clock}Z"),
        fraction => format!(
            "{clock}.{}Z",
            format!("{fraction:06}").trim_end_matches('0')
        ),
    })
}

/// Microseconds, where a month is a twelfth of 365.25 days; the ends of the range for what lies beyond, as Debezium has
/// it.
fn interval(text: &str) -> Option<i64> {
    const DAY: f64 = 86_400_000_000.0;
    let (mut months, mut days, mut rest) = (0_i64, 0_i64, 0_i128);
    let mut words = text.split(' ');
    while let Some(word) = words.next() {
        if word.contains(':') {
            let (negative, unsigned) = match word.strip_prefix('-') {
                Some(unsigned) => (true, unsigned),
                None => (false, word.trim_start_matches('+')),
            };
            let length = clock(unsigned)?;
            rest = if negative { -length } else { length };
            continue;
        }
        let count: i64 = word.trim_start_matches('+').parse().ok()?;
        match words.next()?.trim_end_matches('s') {
            "year" => months = months.checked_add(count.checked_mul(12)?)?,
            "mon" => months = months.checked_add(count)?,
            "day" => days = days.checked_add(count)?,
            _ => return None,
        }
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "Debezium computes in doubles as well"
    )]
    let long = (((months as f64) * 365.25 / 12.0 + days as f64) * DAY) as i128;
    let all = long
        .saturating_add(rest)
        .clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    i64::try_from(all).ok()
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    digits.len().is_multiple_of(2).then_some(())?;
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes = digits
        .chunks(2)
        .map(|pair| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok());
    bytes.collect()
}

/// Little-endian bytes.
fn bits(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes().rchunks(8).map(|byte| {
        byte.iter().try_fold(0_u8, |byte, bit| match bit {
            b'0' => Some(byte << 1),
            b'1' => Some(byte << 1 | 1),
            _ => None,
        })
    });
    let mut bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
    // The lowest comes first; zeros above the highest bit that is set are not written.
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Some(bytes)
}

/// `{1,NULL,"a b"}`; of several dimensions, a list of lists.
fn array(element: &Kind, text: &str, out: &mut Vec<u8>) -> Option<()> {
    // `[0:2]={..}` says that indexes do not begin with 1.
    let text = match text.strip_prefix('[') {
        Some(_) => text.split_once("]={").map(|(_, rest)| rest)?,
        None => text.strip_prefix('{')?,
    };
    let start = out.len();
    out.push(b'[');
    let (mut rest, mut depth, mut first) = (text, 1, true);
    while depth > 0 {
        match rest.bytes().next()? {
            b'}' => {
                (depth, rest, first) = (depth - 1, &rest[1..], false);
                out.push(b']');
                continue;
            }
            b',' => {
                rest = &rest[1..];
                continue;
            }
            _ if !first => out.push(b','),
            _ => {}
        }
        if let Some(inner) = rest.strip_prefix('{') {
            (depth, rest, first) = (depth + 1, inner, true);
            out.push(b'[');
            continue;
        }
        first = false;
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut value = String::new();
            let mut chars = quoted.char_indices();
            loop {
                match chars.next()? {
                    (at, '"') => {
                        rest = &quoted[at + 1..];
                        break;
                    }
                    (_, '\\') => value.push(chars.next()?.1),
                    (_, other) => value.push(other),
                }
            }
            write(element, &value, out)?;
        } else {
            let end = rest.find([',', '}'])?;
            match &rest[..end] {
                "NULL" => out.extend_from_slice(b"null"),
                value => {
                    if write(element, value, out).is_none() {
                        out.truncate(start);
                        return None;
                    }
                }
            }
            rest = &rest[end..];
        }
    }
    Some(())
}

#[cfg(test)]
mod tests;
