use insta::assert_snapshot;

use super::*;

fn lines(json: &str, action: OnViolation) -> String {
    let suite = ImportedSuite::read(json, action).expect("a suite");
    let mut text: Vec<String> = suite.rules.into_iter().map(|rule| rule.line).collect();
    let left_out = suite.left_out.into_iter();
    text.extend(left_out.map(|one| format!("left out: {}: {}", one.expectation, one.reason)));
    text.join("\n")
}

/// As the 0.x series writes it.
const EMPLOYEES: &str = r#"{
  "data_asset_type": null,
  "expectation_suite_name": "employees.warning",
  "ge_cloud_id": null,
  "meta": {"great_expectations_version": "0.18.12"},
  "expectations": [
    {"expectation_type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1, "max_value": 10000}, "meta": {}},
    {"expectation_type": "expect_column_to_exist", "kwargs": {"column": "id"}, "meta": {}},
    {"expectation_type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}, "meta": {}},
    {"expectation_type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}, "meta": {}},
    {"expectation_type": "expect_column_values_to_be_unique", "kwargs": {"column": "nom"}, "meta": {}},
    {"expectation_type": "expect_column_values_to_be_in_set", "kwargs": {"column": "bu", "value_set": ["R&D", "L'Équipe"], "mostly": 0.95}, "meta": {}},
    {"expectation_type": "expect_column_values_to_be_between", "kwargs": {"column": "salaire_brut", "min_value": 0, "strict_min": true}, "meta": {}},
    {"expectation_type": "expect_column_values_to_be_between", "kwargs": {"column": "salaire_brut", "min_value": {"$PARAMETER": "floor"}}, "meta": {}},
    {"expectation_type": "expect_column_values_to_be_of_type", "kwargs": {"column": "id", "type_": "INTEGER"}, "meta": {}},
    {"expectation_type": "expect_column_values_to_match_regex", "kwargs": {"column": "adresse", "regex": "^\\d{5}"}, "meta": {}},
    {"expectation_type": "expect_column_values_to_match_regex", "kwargs": {"column": "adresse", "regex": "(?=.*34)"}, "meta": {}},
    {"expectation_type": "expect_column_pair_values_a_to_be_greater_than_b", "kwargs": {"column_A": "date_embauche", "column_B": "date_naissance"}, "meta": {}},
    {"expectation_type": "expect_column_values_to_be_between", "kwargs": {"column": "jours_cp", "max_value": 50, "row_condition": "bu==\"R&D\"", "condition_parser": "pandas"}, "meta": {}},
    {"expectation_type": "expect_column_kl_divergence_to_be_less_than", "kwargs": {"column": "jours_cp", "threshold": 0.1}, "meta": {}}
  ]
}"#;

/// As 1.x writes it.
const ACTIVITIES: &str = r#"{
  "name": "activities",
  "id": "6f1c0a52-5f0e-4b3b-9d2b-2d1b7c7e3f11",
  "meta": {"great_expectations_version": "1.3.5"},
  "notes": null,
  "expectations": [
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "distance_m", "min_value": 0.0, "max_value": 200000.0}, "severity": "critical", "meta": {}, "id": "a"},
    {"type": "expect_column_value_lengths_to_be_between", "kwargs": {"column": "commentaire", "max_value": 500}, "severity": "warning", "meta": {}, "id": "b"},
    {"type": "expect_column_values_to_match_regex_list", "kwargs": {"column": "type_activite", "regex_list": ["^[A-Z]", "^É"], "match_on": "any"}, "severity": "info", "meta": {}, "id": "c"},
    {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["employee_id", "date_debut"]}, "meta": {}, "id": "d"},
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "employee_id"}, "meta": {}, "id": "e"},
    {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "duree_s", "min_value": 60, "max_value": 36000}, "meta": {}, "id": "f"},
    {"type": "expect_column_distinct_values_to_equal_set", "kwargs": {"column": "Order", "value_set": [1, 2, 2]}, "meta": {}, "id": "g"},
    {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "type_activite", "value_set": [null]}, "meta": {}, "id": "i"},
    {"type": "unexpected_rows_expectation", "kwargs": {"unexpected_rows_query": "SELECT 1"}, "meta": {}, "id": "h"}
  ]
}"#;

#[test]
fn a_suite_of_the_old_form() {
    assert_snapshot!(lines(EMPLOYEES, OnViolation::Quarantine), @r##"
-- @expect row_count_to_be_between: (count(*) >= 1 AND count(*) <= 10000) ON VIOLATION WARN
-- @expect id_not_be_null: id IS NOT NULL ON VIOLATION QUARANTINE
-- @expect id_unique: unique(id) ON VIOLATION WARN
-- @expect nom_unique: count(nom) = count(DISTINCT nom) ON VIOLATION WARN
-- @expect salaire_brut_between: salaire_brut IS NULL OR salaire_brut > 0 ON VIOLATION QUARANTINE
-- @expect adresse_match_regex: adresse IS NULL OR adresse ~ '^\d{5}' ON VIOLATION QUARANTINE
-- @expect date_embauche_date_naissance_a_to_be_greater_than_b: (date_embauche IS NULL AND date_naissance IS NULL) OR date_embauche > date_naissance ON VIOLATION QUARANTINE
left out: expect_column_to_exist(id): the SELECT says which columns there are, and `sportlake check` holds readers to it
left out: expect_column_values_to_be_in_set(bu): its "mostly" is a share of the rows without NULL, and FAIL OVER one of all rows; expect the column not to be null
left out: expect_column_values_to_be_between(salaire_brut): it takes a parameter that is known at run time only
left out: expect_column_values_to_be_of_type(id): the SELECT's CAST says the type of a column
left out: expect_column_values_to_match_regex(adresse): its regular expression looks around or back, which SQL's cannot
left out: expect_column_values_to_be_between(jours_cp): its row_condition is not SQL; write it into the rule by hand
left out: expect_column_kl_divergence_to_be_less_than(jours_cp): no @expect rule says the same; write it as a SQL condition by hand
"##);
}

#[test]
fn a_suite_of_the_new_form() {
    assert_snapshot!(lines(ACTIVITIES, OnViolation::Fail), @r##"
-- @expect distance_m_between: distance_m IS NULL OR (distance_m >= 0.0 AND distance_m <= 200000.0) ON VIOLATION FAIL
-- @expect commentaire_value_lengths_to_be_between: commentaire IS NULL OR character_length(commentaire) <= 500 ON VIOLATION WARN
-- @expect type_activite_match_regex_list: type_activite IS NULL OR (type_activite ~ '^[A-Z]' OR type_activite ~ '^É') ON VIOLATION WARN
-- @expect employee_id_date_debut_compound_columns_to_be_unique: unique(employee_id, date_debut) ON VIOLATION FAIL
-- @expect employee_id_not_be_null: employee_id IS NOT NULL ON VIOLATION FAIL
-- @expect duree_s_mean_to_be_between: (avg(duree_s) >= 60 AND avg(duree_s) <= 36000) ON VIOLATION FAIL
-- @expect order_distinct_values_to_equal_set: count(DISTINCT "Order") FILTER (WHERE "Order" IN (1, 2, 2)) = 2 AND count(DISTINCT "Order") = 2 ON VIOLATION FAIL
left out: expect_column_values_to_be_in_set(type_activite): its value_set is empty
left out: unexpected_rows_expectation: no @expect rule says the same; write it as a SQL condition by hand
"##);
}

/// The one line or reason that an expectation becomes, beside one that says which columns are never NULL.
fn one(kind: &str, kwargs: &str, severity: &str, never_null: &[&str]) -> String {
    let mut expectations: Vec<String> = never_null
        .iter()
        .map(|column| format!(r#"{{"type": "{NOT_NULL}", "kwargs": {{"column": "{column}"}}}}"#))
        .collect();
    expectations.push(format!(
        r#"{{"type": "{kind}", "kwargs": {{{kwargs}}}, "severity": "{severity}"}}"#
    ));
    let json = format!(r#"{{"expectations": [{}]}}"#, expectations.join(", "));
    let text = lines(&json, OnViolation::Quarantine);
    let line = text.lines().last().unwrap_or_default();
    match line.split_once(": ") {
        Some(("left out", reason)) => format!("left out: {reason}"),
        Some((_, rule)) => rule.to_owned(),
        None => line.to_owned(),
    }
}

#[test]
fn a_share_is_taken_where_it_is_one_of_all_rows() {
    let in_set = "expect_column_values_to_be_in_set";
    let mostly = r#""column": "bu", "value_set": ["a"], "mostly": 0.95"#;
    let rule = "bu IS NULL OR bu IN ('a') ON VIOLATION QUARANTINE, FAIL OVER 5%";
    assert_eq!(one(in_set, mostly, "critical", &["bu"]), rule);
    let of_some = one(in_set, mostly, "critical", &["id"]);
    assert!(
        of_some.contains("share of the rows without NULL"),
        "{of_some}"
    );
    let warning = one(in_set, mostly, "warning", &["bu"]);
    assert!(warning.contains("it cannot only warn"), "{warning}");
    assert_eq!(
        one(
            NOT_NULL,
            r#""column": "bu", "mostly": 0.9"#,
            "critical",
            &[]
        ),
        "bu IS NOT NULL ON VIOLATION QUARANTINE, FAIL OVER 10%"
    );
    let conditional = r#"{"expectations": [
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "bu", "row_condition": "id > 3"}},
        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "bu"}}]}"#;
    let text = lines(conditional, OnViolation::Warn);
    assert!(text.contains("count(bu) = count(DISTINCT bu)"), "{text}");

    let pair = "expect_column_pair_values_to_be_equal";
    let pairs = |ignored: &str, never_null: &[&str]| {
        let kwargs = format!(
            r#""column_A": "a", "column_B": "b", "mostly": 0.5, "ignore_row_if": "{ignored}""#
        );
        one(pair, &kwargs, "critical", never_null).ends_with("FAIL OVER 50%")
    };
    assert!(pairs("both_values_are_missing", &["b"]));
    assert!(!pairs("both_values_are_missing", &[]));
    assert!(!pairs("either_value_is_missing", &["b"]));
    assert!(pairs("either_value_is_missing", &["a", "b"]));
    assert!(pairs("neither", &[]));
}

#[test]
fn rows_are_passed_over_for_their_nulls_as_there() {
    let of = |kind: &str, more: &str, never_null: &[&str]| {
        let kwargs = format!(r#""column_list": ["a", "b"]{more}"#);
        one(kind, &kwargs, "critical", never_null)
    };
    let any = r#", "ignore_row_if": "any_value_is_missing""#;
    let never = r#", "ignore_row_if": "never""#;
    let other = r#", "ignore_row_if": "on_mondays""#;

    let sum = "expect_multicolumn_sum_to_equal";
    let total = |more: &str| format!(r#", "sum_total": 3{more}"#);
    let kept = "a + b = 3 ON VIOLATION QUARANTINE";
    assert_eq!(of(sum, &total(""), &["a", "b"]), kept);
    assert!(of(sum, &total(""), &["a"]).contains("a sum with a NULL in it"));
    assert!(of(sum, &total(never), &[]).contains("a sum with a NULL in it"));
    assert_eq!(
        of(sum, &total(any), &[]),
        "(a IS NULL OR b IS NULL) OR a + b = 3 ON VIOLATION QUARANTINE"
    );

    let unique = "expect_compound_columns_to_be_unique";
    let rule = "unique(a, b) ON VIOLATION WARN";
    assert_eq!(of(unique, "", &["b"]), rule);
    assert!(of(unique, "", &[]).contains("count as equal in unique()"));
    assert!(of(unique, any, &["b"]).contains("count as equal in unique()"));
    assert_eq!(of(unique, any, &["a", "b"]), rule);
    assert_eq!(of(unique, never, &[]), rule);

    let within = "expect_select_column_values_to_be_unique_within_record";
    assert_eq!(
        of(within, "", &[]),
        "(a IS NULL AND b IS NULL) OR (a IS DISTINCT FROM b) ON VIOLATION QUARANTINE"
    );
    assert_eq!(
        of(within, never, &[]),
        "a IS DISTINCT FROM b ON VIOLATION QUARANTINE"
    );
    for kind in [sum, unique, within] {
        let reason = of(kind, &total(other), &["a", "b"]);
        assert!(reason.contains("ignore_row_if is not known"), "{reason}");
    }
}

#[test]
fn what_is_no_suite_is_refused() {
    for json in [
        "",
        "[]",
        "{}",
        r#"{"expectations": 3}"#,
        r#"{"expectations": [}"#,
    ] {
        let error = ImportedSuite::read(json, OnViolation::Warn).expect_err(json);
        assert_eq!(error.kind(), crate::ErrorKind::InvalidRequest);
    }
    let odd = r#"{"expectations": [null, 3, {}, {"type": "expect_column_values_to_be_null"},
                 {"type": "expect_x", "kwargs": []}]}"#;
    let suite = ImportedSuite::read(odd, OnViolation::Warn).expect("a suite");
    assert_eq!((suite.rules.len(), suite.left_out.len()), (0, 5));
}

#[tokio::test]
async fn rules_stand_above_the_select_and_what_the_table_has_not_is_left_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("gold");
    std::fs::create_dir(&file).expect("created");
    let text = "-- People.\n-- @expect id_not_be_null: id > 0 ON VIOLATION WARN\n\nSELECT 1 AS id, 'x' AS nom, 'y' AS adresse\n";
    std::fs::write(file.join("people.sql"), text).expect("written");
    let suite = ImportedSuite::read(EMPLOYEES, OnViolation::Warn).expect("a suite");
    let table = "gold.people".parse().expect("a name");
    let source = crate::SourceConfig::default();
    let insertion = suite
        .insert_into(folder.path(), &source, &table)
        .await
        .expect("inserted");
    assert_eq!(insertion.path, "gold/people.sql");
    assert_snapshot!(insertion.text, @r##"
-- People.
-- @expect id_not_be_null: id > 0 ON VIOLATION WARN

-- @expect row_count_to_be_between: (count(*) >= 1 AND count(*) <= 10000) ON VIOLATION WARN
-- @expect id_unique: unique(id) ON VIOLATION WARN
-- @expect nom_unique: count(nom) = count(DISTINCT nom) ON VIOLATION WARN
-- @expect adresse_match_regex: adresse IS NULL OR adresse ~ '^\d{5}' ON VIOLATION WARN
SELECT 1 AS id, 'x' AS nom, 'y' AS adresse
"##);
    let reasons: Vec<String> = insertion
        .left_out
        .iter()
        .map(|one| format!("{}: {}", one.expectation, one.reason))
        .filter(|text| text.contains("unknown") || text.contains("already"))
        .collect();
    assert_snapshot!(reasons.join("\n"), @r##"
expect_column_values_to_not_be_null(id): gold.people has a rule "id_not_be_null" already
expect_column_pair_values_a_to_be_greater_than_b(date_embauche, date_naissance): unknown column "date_embauche"
expect_column_values_to_be_between(salaire_brut): unknown column "salaire_brut"
"##);
    let unknown = "gold.persons".parse().expect("a name");
    let suite = ImportedSuite::read(EMPLOYEES, OnViolation::Warn).expect("a suite");
    let missing = suite.insert_into(folder.path(), &source, &unknown).await;
    assert_eq!(
        missing.expect_err("no file").kind(),
        crate::ErrorKind::NotFound
    );
}
