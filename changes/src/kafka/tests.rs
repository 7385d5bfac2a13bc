use super::*;

fn check(text: &str) -> Result<KafkaConfig> {
    let text = format!("brokers = \"k:9093\"\n{text}");
    let config: KafkaConfig = toml::from_str(&text).expect(&text);
    config.validate().map(|()| config)
}

#[test]
fn what_goes_together_is_put_into_clients() {
    let scram = "security = \"sasl_ssl\"\nsasl_mechanism = \"SCRAM-SHA-512\"\nusername = \"u\"\npassword = \"p\"\nca_file = \"ca.pem\"";
    let client = check(scram).expect("valid").client(&Purpose::Consume);
    for (key, value) in [
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanisms", "SCRAM-SHA-512"),
        ("sasl.username", "u"),
        ("sasl.password", "p"),
        ("ssl.ca.location", "ca.pem"),
    ] {
        assert_eq!(client.get(key), Some(value), "{key}");
    }
    let mutual = "security = \"ssl\"\ncertificate_file = \"c\"\nkey_file = \"k\"\nkey_password_file = \"p\"\ncompression = \"zstd\"";
    let client = check(mutual).expect("valid").client(&Purpose::Produce);
    assert_eq!(client.get("ssl.key.location"), Some("k"));
    assert_eq!(client.get("compression.codec"), Some("zstd"));
    let plain = check("").expect("valid").client(&Purpose::Produce);
    assert_eq!(plain.get("security.protocol"), None);
}

#[test]
fn what_does_not_go_together_is_refused_with_what_does() {
    for (text, named) in [
        ("username = \"u\"", "username"),
        ("security = \"ssl\"\npassword = \"p\"", "password"),
        ("security = \"sasl_plaintext\"\nca_file = \"c\"", "ca_file"),
        ("ca_file = \"c\"", "ca_file"),
        ("security = \"ssl\"\ncertificate_file = \"c\"", "key_file"),
        ("security = \"ssl\"\nkey_file = \"c\"", "certificate_file"),
        ("security = \"ssl\"\nkey_password = \"c\"", "key_file"),
        ("security = \"sasl_ssl\"", "sasl_mechanism"),
        (
            "security = \"sasl_ssl\"\nsasl_mechanism = \"PLAIN\"",
            "username",
        ),
        (
            "security = \"sasl_ssl\"\nsasl_mechanism = \"PLAIN\"\nusername = \"u\"",
            "SPORTLAKE__KAFKA__PASSWORD",
        ),
        (
            "security = \"sasl_ssl\"\nsasl_mechanism = \"PLAIN\"\nusername = \"u\"\npassword = \"p\"\npassword_file = \"f\"",
            "password_file",
        ),
    ] {
        let error = check(text).expect_err(text);
        let told = format!("{error} {}", error.hint_text().expect("a hint"));
        assert!(told.contains(named), "{text}: {told}");
    }
    let embedded = KafkaConfig {
        security: Security::Ssl,
        ..KafkaConfig::default()
    };
    assert!(embedded.validate().is_err());
}

#[test]
fn a_password_is_read_from_its_file_and_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("password");
    std::fs::write(&file, "open sesame\nnot this\n").expect("written");
    let config = KafkaConfig {
        password_file: file.clone(),
        ..KafkaConfig::default()
    };
    let whole = config.with_secrets().expect("there");
    assert_eq!(whole.password.reveal(), "open sesame");
    assert!(!format!("{whole:?}").contains("sesame"));
    std::fs::write(&file, "\n").expect("written");
    let empty = config.with_secrets().expect_err("no password");
    assert!(
        empty
            .hint_text()
            .is_some_and(|hint| hint.contains("password_file"))
    );
    let absent = KafkaConfig {
        ca_file: folder.path().join("absent.pem"),
        ..KafkaConfig::default()
    };
    let error = absent.with_secrets().expect_err("not there");
    assert!(
        error
            .hint_text()
            .is_some_and(|hint| hint.contains("kafka.ca_file"))
    );
}

#[test]
fn a_password_in_the_file_is_refused() {
    let written = check(
        "security = \"sasl_ssl\"\nsasl_mechanism = \"PLAIN\"\nusername = \"u\"\npassword = \"sesame\"",
    );
    let error = written
        .expect("valid otherwise")
        .check_file()
        .expect_err("in the file");
    assert!(!format!("{error:?}").contains("sesame"), "{error:?}");
}

#[test]
fn nobody_at_the_address_is_said() {
    let kafka = KafkaConfig::default().with_brokers("127.0.0.1:1");
    let error = diagnose(&kafka).expect("nobody answers");
    assert_eq!(error.kind(), crate::ErrorKind::Unavailable);
    assert!(
        error
            .to_string()
            .contains("no broker answers at \"127.0.0.1:1\""),
        "{error}"
    );
}
