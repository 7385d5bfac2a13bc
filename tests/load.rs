//! `sportlake generate` as a load tool, with the real binary: what is written wrong becomes dead letters, and the numbers
//! are those of what was meant.

use nix::sys::signal::Signal;

use changes::KafkaConfig;

use crate::broker::Broker;
use crate::project::{Project, text};
use crate::truth::Truth;

#[test]
fn a_chaotic_load_ends_in_the_right_numbers_and_in_dead_letters() {
    let broker = Broker::start(tempfile::tempdir().expect("a folder").keep());
    let project = Project::new().set("kafka.brokers", &broker.address);
    let kafka = KafkaConfig::default().with_brokers(&broker.address);
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/sources/samples");
    let workbooks = ["employes", "sports"].map(|name| format!("{samples}/{name}.xlsx"));
    let mut roles = [&["ingest"][..], &["refresh", "--watch"]].map(|role| project.start(role));

    let arguments = [
        "generate",
        "--days",
        "30",
        "--rate",
        "500",
        "--chaos",
        "--employees",
    ];
    let arguments = [&arguments[..], &[&workbooks[0], &workbooks[1]]].concat();
    let mut generate = project.start(&arguments);
    generate.wait_for("live events");
    generate.signal(Signal::SIGINT);
    let told = generate.wait_for("published");
    assert_eq!(generate.end().code(), Some(130));
    let count = |what: &str| -> u64 {
        let before = told.split(what).next().expect("a part");
        let number = before.split_whitespace().next_back().unwrap_or_default();
        number
            .parse()
            .unwrap_or_else(|_| unreachable!("{what}: {told}"))
    };
    assert!(count("live ones") > 100, "{told}");
    for what in ["sent twice", "late", "malformed"] {
        assert!(count(what) > 0, "{told}");
    }

    let imported = project.run(&["hr", "import", &workbooks[0], &workbooks[1]]);
    assert!(imported.status.success(), "{}", text(&imported.stderr));
    if let Some(truth) = Truth::new(&project, &kafka) {
        truth.check(true);
    }
    let messages = "SELECT count(*) FROM bronze.sport_activities";
    while project.rows(messages) != [count("messages acknowledged").to_string()] {}
    let letters = project.rows("SELECT count(*) FROM bronze.dead_letters");
    assert_eq!(letters, [count("malformed").to_string()]);
    for role in &mut roles {
        role.signal(Signal::SIGTERM);
        assert!(role.end().success(), "{}", role.transcript());
    }
}

#[test]
fn what_a_load_cannot_do_is_said() {
    let project = Project::new();
    for (arguments, kind, hint) in [
        (&["--chaos", "lateness=1%"][..], 2, "late=5%"),
        (&["--chaos", "late=150%"], 2, "up to 100%"),
        (&["--employees", "nowhere.xlsx"], 3, "Check the path"),
        (&["--rate", "100001"], 2, "from 0 to 100000"),
    ] {
        let output = project.run(&[&["generate"], arguments].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(kind), "{said}");
        assert!(said.contains(hint), "{said}");
    }
    let project = project.set("source.postgres", "postgres://a:b@127.0.0.1:1/c");
    let output = project.run(&["generate", "--chaos"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--chaos updates=10%,deletes=3%"), "{said}");
}
