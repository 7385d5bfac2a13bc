//! The XML by which CI servers read test results.

use std::fmt::Write as _;

pub(crate) struct Suite {
    pub(crate) name: String,
    pub(crate) cases: Vec<Case>,
}

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) seconds: f64,
    /// A line that says what is wrong, and the whole text.
    pub(crate) failure: Option<(String, String)>,
}

pub(crate) fn junit(suites: &[Suite]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        xml,
        "<testsuites{}>",
        counts(suites.iter().flat_map(|s| &s.cases))
    );
    for suite in suites {
        let name = escaped(&suite.name);
        let _ = writeln!(xml, "  <testsuite name=\"{name}\"{}>", counts(&suite.cases));
        for case in &suite.cases {
            let _ = write!(
                xml,
                "    <testcase classname=\"{name}\" name=\"{}\" file=\"{}\" time=\"{:.3}\"",
                escaped(&case.name),
                escaped(&case.file),
                case.seconds
            );
            let _ = match &case.failure {
                None => writeln!(xml, "/>"),
                Some((message, text)) => writeln!(
                    xml,
                    ">\n      <failure message=\"{}\">{}</failure>\n    </testcase>",
                    escaped(message),
                    escaped(text)
                ),
            };
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn counts<'a>(cases: impl IntoIterator<Item = &'a Case>) -> String {
    let (mut tests, mut failures, mut seconds) = (0, 0, 0.0);
    for case in cases {
        tests += 1;
        failures += usize::from(case.failure.is_some());
        seconds += case.seconds;
    }
    format!(" tests=\"{tests}\" failures=\"{failures}\" time=\"{seconds:.3}\"")
}

/// For text and attributes. What XML cannot hold at all becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut xml = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\n' => xml.push_str("&#10;"),
            '\t' => xml.push_str("&#9;"),
            control if control.is_control() || matches!(control, '\u{fffe}' | '\u{ffff}') => {
                xml.push('\u{fffd}');
            }
            other => xml.push(other),
        }
    }
    xml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_control_characters_do_not_break_the_report() {
        let case = Case {
            name: "a < b & \"c\"".to_owned(),
            file: "x.sql".to_owned(),
            seconds: 0.5,
            failure: Some(("line\u{1b}[0m".to_owned(), "one\ntwo".to_owned())),
        };
        let suite = Suite {
            name: "gold.x".to_owned(),
            cases: vec![case],
        };
        let xml = junit(&[suite]);
        for part in [
            "<testsuites tests=\"1\" failures=\"1\" time=\"0.500\">",
            "name=\"a &lt; b &amp; &quot;c&quot;\"",
            "<failure message=\"line\u{fffd}[0m\">one&#10;two</failure>",
        ] {
            assert!(xml.contains(part), "{xml}");
        }
    }
}
