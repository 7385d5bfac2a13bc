use std::collections::BTreeMap;
use std::fmt::Write;

use engine::{CheckOutcome, RuleResult, TableName, Validation};

use super::{escape, keys};

/// One suite a table, one case a rule.
pub(super) fn document(validation: &Validation) -> String {
    let mut suites: BTreeMap<&TableName, Vec<&RuleResult>> = BTreeMap::new();
    for result in &validation.results {
        suites.entry(&result.table).or_default().push(result);
    }
    let (failures, errors) = counts(validation.results.iter());
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "<testsuites name=\"sportlake validate, epoch {}\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\">",
        validation.epoch,
        validation.results.len()
    );
    for (table, results) in suites {
        let (failures, errors) = counts(results.iter().copied());
        let _ = writeln!(
            text,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" timestamp=\"{}\">",
            escape(&table.to_string()),
            results.len(),
            validation.checked_at.format("%Y-%m-%dT%H:%M:%S"),
        );
        for result in results {
            case(&mut text, result);
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

fn case(text: &mut String, result: &RuleResult) {
    let name = escape(&result.rule);
    let class = escape(&result.table.to_string());
    let _ = write!(text, "    <testcase name=\"{name}\" classname=\"{class}\"");
    let element = match result.outcome {
        CheckOutcome::Passed => {
            text.push_str("/>\n");
            return;
        }
        CheckOutcome::Error => "error",
        CheckOutcome::Warned | CheckOutcome::KeptOut | CheckOutcome::Failed => "failure",
    };
    let _ = writeln!(
        text,
        ">\n      <{element} type=\"{}\" message=\"{}\">{}\n{}</{element}>\n    </testcase>",
        result.outcome.as_str(),
        escape(&result.summary()),
        escape(&format!(
            "{} ON VIOLATION {}",
            result.definition, result.action
        )),
        escape(&keys(result)),
    );
}

/// Failures and errors.
fn counts<'a>(results: impl Iterator<Item = &'a RuleResult>) -> (usize, usize) {
    results.fold((0, 0), |(failures, errors), result| match result.outcome {
        CheckOutcome::Passed => (failures, errors),
        CheckOutcome::Error => (failures, errors + 1),
        _ => (failures + 1, errors),
    })
}
