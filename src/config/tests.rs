use super::*;

const SAMPLE: &str = include_str!("../../sportlake.toml");

fn check(text: &str, variables: &[(&str, &str)]) -> Result<Config> {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    compose("sportlake.toml", text, variables)
}

#[track_caller]
fn refused(text: &str, variables: &[(&str, &str)]) -> (String, String) {
    let error = check(text, variables).expect_err("the configuration is wrong");
    let hint = error.hint_text().unwrap_or_default().to_owned();
    (error.to_string(), hint)
}

#[test]
fn the_sample_is_the_defaults() {
    let sample = check(SAMPLE, &[]).expect("the sample is valid");
    assert_eq!(format!("{sample:#?}"), format!("{:#?}", Config::default()));
}

#[test]
fn the_sample_shows_every_key_and_says_what_it_is_for() {
    let sample: toml::Table = toml::from_str(SAMPLE).expect("the sample is TOML");
    let (_, sections) = refused("[no_such_section_at_all]", &[]);
    for section in names(&sections) {
        let shown = sample.get(section).and_then(toml::Value::as_table);
        let shown = shown.unwrap_or_else(|| panic!("the sample lacks [{section}]"));
        let (_, keys) = refused(&format!("[{section}]\nno_such_key_at_all = 1"), &[]);
        for key in names(&keys) {
            assert!(shown.contains_key(key), "the sample lacks {section}.{key}");
        }
    }
    let lines: Vec<&str> = SAMPLE.lines().collect();
    for (above, line) in lines.iter().zip(&lines[1..]) {
        if line.contains(" = ") && !line.starts_with('#') {
            assert!(
                above.starts_with('#') || line.contains(" # "),
                "undocumented: {line}"
            );
        }
    }
}

/// The names that a hint lists: "[x] has a, b." or "The sections are a, b."
fn names(hint: &str) -> Vec<&str> {
    let list = hint.trim_end_matches('.');
    let list = list.split(" has ").last().unwrap_or(list);
    let list = list.split(" are ").last().unwrap_or(list);
    list.split(", ").collect()
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_the_nearest_name() {
    let (message, hint) = refused("[flight]\n  lissten = \"127.0.0.1:1\"\n", &[]);
    assert_eq!(
        message,
        "sportlake.toml:2:3: unknown key \"lissten\" in [flight]\n    lissten = \"127.0.0.1:1\"\n    ^"
    );
    assert_eq!(hint, "Did you mean \"listen\"?");
}

#[test]
fn an_unknown_section_is_refused_with_the_nearest_name() {
    let (message, hint) = refused("[fligth]\nlisten = \"127.0.0.1:1\"\n", &[]);
    assert!(
        message.starts_with("sportlake.toml:1:2: unknown section \"fligth\""),
        "{message}"
    );
    assert_eq!(hint, "Did you mean \"flight\"?");
}

#[test]
fn what_is_no_toml_is_refused_with_its_place() {
    let (message, _) = refused("[flight]\nlisten = \n", &[]);
    assert!(message.starts_with("sportlake.toml:2:"), "{message}");
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_its_place() {
    let (message, _) = refused("[generator]\ndays = \"many\"\n", &[]);
    assert!(
        message.starts_with("sportlake.toml:2:8: invalid type"),
        "{message}"
    );
}

#[test]
fn the_environment_wins_over_the_file() {
    let config = check(
        "[kafka]\nprefix = \"file\"\n[generator]\ndays = 3\n",
        &[
            ("SPORTLAKE__KAFKA__PREFIX", "environment"),
            ("SPORTLAKE__GENERATOR__DAYS", "7"),
            ("SPORTLAKE__LAKE__URI", "123"),
            ("SPORTLAKE_LOG", "not ours"),
        ],
    )
    .expect("valid");
    assert_eq!(config.kafka.prefix, "environment");
    assert_eq!(config.lake.uri, "123");
    assert!(format!("{:?}", config.generator).contains("days: 7"));
}

#[test]
fn an_empty_variable_is_an_empty_text_or_not_set() {
    let config = check(
        "[notify]\nopt_out = [7]\nin_doubt = \"repeat\"\n[generator]\ndays = 3\n[flight]\naudit = \"a\"\n",
        &[
            ("SPORTLAKE__NOTIFY__OPT_OUT", ""),
            ("SPORTLAKE__NOTIFY__IN_DOUBT", ""),
            ("SPORTLAKE__NOTIFY__CHANNEL", ""),
            ("SPORTLAKE__GENERATOR__DAYS", " "),
            ("SPORTLAKE__INGEST__FLUSH_BYTES", ""),
            ("SPORTLAKE__COMMUTE__PROVIDER", ""),
            ("SPORTLAKE__FLIGHT__AUDIT", ""),
        ],
    )
    .expect("valid");
    assert_eq!(
        (config.notify.opt_out, config.notify.channel.as_str()),
        (vec![7], "")
    );
    assert_eq!(config.notify.in_doubt, notify::InDoubt::Repeat);
    assert!(format!("{:?}", config.generator).contains("days: 3"));
    assert_eq!(config.flight.audit, "");
    let (message, _) = refused("", &[("SPORTLAKE__NOTIFY__OPTOUT", "")]);
    assert!(message.contains("unknown key \"optout\""), "{message}");
}

#[test]
fn a_variable_that_names_no_key_is_refused() {
    let (message, hint) = refused("", &[("SPORTLAKE__KAFKA__PREFFIX", "x")]);
    assert_eq!(
        message,
        "the variable \"SPORTLAKE__KAFKA__PREFFIX\": unknown key \"preffix\" in [kafka]"
    );
    assert_eq!(hint, "Did you mean \"prefix\"?");
    let (message, _) = refused("", &[("SPORTLAKE__KAFKA", "x")]);
    assert!(message.contains("names no key"), "{message}");
}

#[test]
fn an_empty_list_of_brokers_is_refused() {
    let (message, _) = refused("[kafka]\nbrokers = \"\"\n", &[]);
    assert_eq!(message, "the section [kafka] is not valid");
}

#[test]
fn a_password_of_kafka_comes_from_the_environment_alone() {
    let file = "[kafka]\nbrokers = \"k:9092\"\nsecurity = \"sasl_ssl\"\nsasl_mechanism = \"PLAIN\"\nusername = \"u\"\n";
    let secret = ("SPORTLAKE__KAFKA__PASSWORD", "12345");
    let config = check(file, &[secret]).expect("valid");
    assert_eq!(config.kafka.password.reveal(), "12345");
    assert!(!format!("{config:?}").contains("12345"));
    let written = format!("{file}password = \"open-sesame\"\n");
    let error = check(&written, &[]).expect_err("in the file");
    assert!(!format!("{error:?}").contains("open-sesame"), "{error:?}");
}

#[test]
fn no_message_holds_what_may_be_a_secret() {
    for (text, variables) in [
        ("[kafka]\npassword = [\"hunter2\"]", &[][..]),
        ("[kafka]\npasword = \"hunter2\"", &[]),
        (
            "[source]\npostgres = { url = \"postgres://a:hunter2@b/c\" }",
            &[],
        ),
        ("[kafka]\npassword = \"hunter2\" x", &[]),
        ("", &[("SPORTLAKE__KAFKA__PASWORD", "hunter2")]),
    ] {
        let (message, hint) = refused(text, variables);
        assert!(!format!("{message}{hint}").contains("hunter2"), "{message}");
    }
}
