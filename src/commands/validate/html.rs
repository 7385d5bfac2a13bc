use std::fmt::Write;

use engine::{CheckOutcome, Validation};

use super::{escape, keys};

/// Nothing is loaded from elsewhere, and nothing in the page can run.
const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
<meta name=\"viewport\" content=\"width=device-width\"><title>sportlake validate</title><style>\
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}\
td.n{text-align:right;font-variant-numeric:tabular-nums}code{font-size:.9em}\
.passed{color:#060}.warned,.kept_out{color:#850}.failed,.error{color:#a00;font-weight:600}</style></head><body>";

const COLUMNS: [&str; 7] = [
    "Table",
    "Rule",
    "Outcome",
    "Violations",
    "Rows",
    "Definition",
    "Failing keys",
];

/// The results as one page.
pub(super) fn document(validation: &Validation) -> String {
    let broken = validation
        .results
        .iter()
        .filter(|result| result.is_broken());
    let mut page = HEAD.to_owned();
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "<h1>Rules of epoch {}</h1><p>Judged {}: {} of {} rules are broken.</p><table><thead><tr>",
        validation.epoch,
        validation.checked_at.format("%Y-%m-%d %H:%M:%S UTC"),
        broken.count(),
        validation.results.len(),
    );
    for column in COLUMNS {
        let _ = write!(page, "<th scope=\"col\">{column}</th>");
    }
    page.push_str("</tr></thead><tbody>");
    for result in &validation.results {
        let number = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
        let told = match (&result.message, result.outcome) {
            (Some(message), _) => message.clone(),
            (None, CheckOutcome::Passed) => String::new(),
            (None, _) => keys(result),
        };
        let outcome = result.outcome.as_str();
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td class=\"{outcome}\">{outcome}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td><code>{}</code> {}</td><td>{}</td></tr>",
            escape(&result.table.to_string()),
            escape(&result.rule),
            number(result.violations),
            number(result.rows),
            escape(&result.definition),
            escape(&result.action),
            escape(&told),
        );
    }
    page.push_str("</tbody></table></body></html>\n");
    page
}
