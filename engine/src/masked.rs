/// An error's text without the values in it, which may be personal data: what stands in single quotes, and numbers.
///
/// What is stored, logged or shown about a table's state is this form.
pub(crate) fn masked(text: &str) -> String {
    match (text.find('\''), text.rfind('\'')) {
        (Some(from), Some(to)) if from < to => {
            let (before, behind) = (&text[..from], &text[to + 1..]);
            format!("{}'…'{}", without_numbers(before), without_numbers(behind))
        }
        _ => without_numbers(text),
    }
}

fn without_numbers(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut last = ' ';
    while let Some(character) = rest.next() {
        last = if character.is_ascii_digit() && !last.is_alphanumeric() && last != '_' {
            masked.push('…');
            let of_number = |c: &char| c.is_ascii_alphanumeric() || ".:-+".contains(*c);
            while rest.next_if(of_number).is_some() {}
            ' '
        } else {
            masked.push(character);
            character
        };
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_gone_and_types_stay() {
        for (text, expected) in [
            (
                "Cannot cast string 'Anne O'Neill' to value of Int64 type",
                "Cannot cast string '…' to value of Int64 type",
            ),
            (
                "30940.10 is too large to store in a Decimal128 of precision 4. Max is 9.99",
                "… is too large to store in a Decimal128 of precision … Max is …",
            ),
            (
                "Overflow happened on: 9223372036854775807 + 1",
                "Overflow happened on: … + …",
            ),
            ("Divide by zero error", "Divide by zero error"),
            ("unknown column \"x_1\"", "unknown column \"x_1\""),
        ] {
            assert_eq!(masked(text), expected);
        }
    }
}
