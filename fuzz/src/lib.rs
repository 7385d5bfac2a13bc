//! What must hold for every text of a file.

use sql_files::depth::with_deep_stack;
use sql_files::{Diagnostic, Source, SqlFile, TableName, policies};

/// # Panics
/// Where the text is read otherwise than the project promises.
pub fn check(text: &str) {
    with_deep_stack(|| check_here(text)).expect("no panic");
}

fn check_here(text: &str) {
    let read = |text: &str| {
        let name = TableName::new("gold", "fuzzed").expect("a name");
        SqlFile::parse(name, "gold/fuzzed.sql", "sql/gold/fuzzed.sql", text)
    };
    match read(text) {
        Ok(file) => {
            for expect in &file.directives.expects {
                expect.count(&file.name).expect("a rule can be counted");
            }
            assert!(text.contains(&file.sql));
            let commented =
                read(&format!("-- a comment\n{text}\n-- another")).expect("the same query");
            assert_eq!(file.query_fingerprint(), commented.query_fingerprint());
            assert_eq!(file.policy_fingerprint(), commented.policy_fingerprint());
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            problems
                .iter()
                .for_each(|problem| check_place(problem, text));
        }
    }
}

/// The same for `policies.sql`: what cannot be read is told where it stands, and the rest is read.
///
/// # Panics
/// Where the text is read otherwise than the project promises.
pub fn check_policies(text: &str) {
    let path = "sql/policies.sql";
    let (items, problems) =
        with_deep_stack(|| policies::parse(Source { path, text })).expect("no panic");
    assert!(
        items.len() + problems.len() <= text.len(),
        "nothing is made up"
    );
    problems
        .iter()
        .for_each(|problem| check_place(problem, text));
}

fn check_place(problem: &Diagnostic, text: &str) {
    let lines = text.lines().count().max(1);
    assert!(
        (1..=lines + 1).contains(&(problem.line as usize)),
        "{problem:?}"
    );
    assert!(problem.length >= 1 && problem.column >= 1, "{problem:?}");
    assert!(!problem.to_string().is_empty());
}
