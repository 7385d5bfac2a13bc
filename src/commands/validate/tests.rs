use chrono::{DateTime, Utc};

use super::*;

fn result(rule: &str, outcome: CheckOutcome, keys: &[&str]) -> RuleResult {
    RuleResult {
        table: "gold.x".parse().expect("a name"),
        rule: rule.to_owned(),
        definition: "a < b AND c = '\"'".to_owned(),
        action: "WARN".to_owned(),
        outcome,
        violations: (outcome != CheckOutcome::Error).then_some(keys.len() as u64),
        rows: Some(9),
        message: (outcome == CheckOutcome::Error).then(|| "<b>no</b>".to_owned()),
        key_columns: vec!["id".to_owned()],
        keys: keys.iter().map(|key| vec![(*key).to_owned()]).collect(),
    }
}

fn validation() -> Validation {
    Validation {
        epoch: 7,
        checked_at: DateTime::<Utc>::UNIX_EPOCH,
        results: vec![
            result("sound", CheckOutcome::Passed, &[]),
            result(
                "loud",
                CheckOutcome::Warned,
                &["<script>alert(1)</script>", "\u{1}"],
            ),
            result("broken", CheckOutcome::Error, &[]),
        ],
    }
}

#[test]
fn junit_has_a_case_a_rule_and_no_text_breaks_out() {
    assert_eq!(
        junit::document(&validation()),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<testsuites name=\"sportlake validate, epoch 7\" tests=\"3\" failures=\"1\" errors=\"1\">
  <testsuite name=\"gold.x\" tests=\"3\" failures=\"1\" errors=\"1\" timestamp=\"1970-01-01T00:00:00\">
    <testcase name=\"sound\" classname=\"gold.x\"/>
    <testcase name=\"loud\" classname=\"gold.x\">
      <failure type=\"warned\" message=\"2 of 9 rows\">a &lt; b AND c = &#39;&quot;&#39; ON VIOLATION WARN
id: &lt;script&gt;alert(1)&lt;/script&gt;, \u{fffd}</failure>
    </testcase>
    <testcase name=\"broken\" classname=\"gold.x\">
      <error type=\"error\" message=\"&lt;b&gt;no&lt;/b&gt;\">a &lt; b AND c = &#39;&quot;&#39; ON VIOLATION WARN
</error>
    </testcase>
  </testsuite>
</testsuites>
"
    );
}

#[test]
fn the_page_is_whole_in_itself() {
    let page = html::document(&validation());
    assert!(page.contains("2 of 3 rules are broken"));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(page.contains("&lt;b&gt;no&lt;/b&gt;"));
    for forbidden in ["<script", "<b>", "http://", "https://", "src=", "<link"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn keys_of_several_columns_are_tuples() {
    let mut result = result("loud", CheckOutcome::Warned, &["1"]);
    assert_eq!(keys(&result), "id: 1");
    result.key_columns.push("day".to_owned());
    result.keys[0].push("mon".to_owned());
    assert_eq!(keys(&result), "(id, day): (1, mon)");
}
