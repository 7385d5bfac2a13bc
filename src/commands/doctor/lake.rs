use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chrono::TimeDelta;
use engine::{ErrorKind, Lake, Protocol, TableName};

use super::Finding;
use crate::commands::Context;

/// Clocks that NTP keeps are much closer.
const CLOCKS_APART: TimeDelta = TimeDelta::seconds(5);

/// What the lake's files say: their format, their newest epoch and the protocol of its tables.
pub(super) async fn examine(context: &Context) -> Vec<Finding> {
    let uri = &context.config.lake.uri;
    if is_new(Path::new(uri.trim_start_matches("file://"))) {
        let found = format!("there is none at \"{uri}\" yet; `sportlake up` makes it");
        return vec![Finding::ok("lake", found)];
    }
    // A folder that holds something is only read: the format is written into empty ones alone.
    let lake = match Lake::open(&context.config.lake).await {
        Ok(lake) => lake,
        Err(error) => return vec![Finding::failed("lake", &error)],
    };
    let mut findings = vec![Finding::ok(
        "lake",
        format!("\"{uri}\" has this program's format"),
    )];
    let latest = match context.reader(lake.clone()) {
        Ok(reader) => reader.latest().await,
        Err(error) => Err(error),
    };
    let manifest = match latest {
        Ok(manifest) => manifest,
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            let hint = error.hint_text().unwrap_or_default();
            findings.push(Finding::warn("newest epoch", error.to_string(), hint));
            return findings;
        }
        Err(error) => {
            findings.push(Finding::failed("newest epoch", &error));
            return findings;
        }
    };
    let now = (context.clock)();
    let held = manifest
        .tables
        .values()
        .filter(|table| table.reason.is_some());
    let held = held.count();
    let found = format!(
        "{} of {}",
        manifest.epoch,
        manifest.now.format("%Y-%m-%d %H:%M:%S UTC")
    );
    findings.push(match held {
        0 => Finding::ok("newest epoch", found),
        _ => Finding::warn(
            "newest epoch",
            format!("{found}, {held} tables held"),
            "`sportlake status` says why.",
        ),
    });
    // It may be as old as it likes: nothing new comes, or nothing runs.
    let ahead = (manifest.now - now).max(TimeDelta::zero());
    findings.push(apart("clock and newest epoch", -ahead));
    findings.extend(told(engine::protocols(&lake, &manifest).await));
    findings
}

/// Nothing is there, or nothing but what a start that was cut off leaves.
fn is_new(folder: &Path) -> bool {
    let Ok(mut entries) = std::fs::read_dir(folder) else {
        return !folder.exists();
    };
    !entries
        .any(|entry| entry.is_ok_and(|entry| !entry.file_name().to_string_lossy().contains('#')))
}

/// How far this machine's clock is ahead of another.
pub(super) fn apart(check: &str, ahead: TimeDelta) -> Finding {
    let seconds = ahead.num_milliseconds().unsigned_abs() as f64 / 1000.0;
    let way = match ahead < TimeDelta::zero() {
        true => "behind",
        false => "ahead",
    };
    let found = format!("this clock is {seconds:.1} s {way}");
    match ahead.abs() > CLOCKS_APART {
        true => Finding::fail(
            check,
            found,
            "Let NTP set the clocks of both machines: docs/operations.md, \"A clock is wrong\".",
        ),
        false => Finding::ok(check, found),
    }
}

/// One line for all tables that are well, one for each that is not.
fn told(protocols: BTreeMap<TableName, engine::Result<Protocol>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut good = BTreeSet::new();
    let mut count = 0;
    for (table, protocol) in protocols {
        let check = format!("Delta protocol of {table}");
        match protocol {
            Ok(protocol) if protocol.is_supported() => {
                good.insert(protocol);
                count += 1;
            }
            Ok(protocol) => findings.push(Finding::fail(
                check,
                text(protocol),
                "Another program raised it; this one reads up to 3 and writes up to 7.",
            )),
            Err(error) => {
                let finding = Finding::failed(check, &error);
                findings.push(finding.or_hint("Another program changed its log, or a file is lost: docs/operations.md, \"Restore\"."));
            }
        }
    }
    let good: Vec<String> = good.into_iter().map(text).collect();
    if !good.is_empty() {
        let found = format!("{count} tables: {}", good.join("; "));
        findings.insert(0, Finding::ok("Delta protocol", found));
    }
    findings
}

fn text(protocol: Protocol) -> String {
    format!("reader {}, writer {}", protocol.reader, protocol.writer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::State;

    #[test]
    fn less_than_a_moment_is_no_negative_time() {
        let finding = apart("clock", TimeDelta::microseconds(-300));
        assert_eq!(finding.found, "this clock is 0.0 s behind");
    }

    #[test]
    fn clocks_may_be_seconds_apart_either_way() {
        for (millis, state, found) in [
            (0, State::Ok, "this clock is 0.0 s ahead"),
            (5_000, State::Ok, "this clock is 5.0 s ahead"),
            (-4_900, State::Ok, "this clock is 4.9 s behind"),
            (5_100, State::Fail, "this clock is 5.1 s ahead"),
            (-90_000, State::Fail, "this clock is 90.0 s behind"),
        ] {
            let finding = apart("clock", TimeDelta::milliseconds(millis));
            assert_eq!((finding.state, finding.found.as_str()), (state, found));
            assert_eq!(finding.hint.is_empty(), state == State::Ok);
        }
    }

    #[test]
    fn a_protocol_of_the_future_is_one_line_of_its_own() {
        let table = |name: &str| name.parse::<TableName>().expect("a name");
        let protocol = |reader, writer| Ok(Protocol { reader, writer });
        let told = told(BTreeMap::from([
            (table("gold.a"), protocol(1, 4)),
            (table("gold.b"), protocol(4, 7)),
            (table("gold.c"), protocol(3, 7)),
        ]));
        let told: Vec<(&str, State, &str)> = told
            .iter()
            .map(|finding| {
                (
                    finding.check.as_str(),
                    finding.state,
                    finding.found.as_str(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (
                    "Delta protocol",
                    State::Ok,
                    "2 tables: reader 1, writer 4; reader 3, writer 7"
                ),
                (
                    "Delta protocol of gold.b",
                    State::Fail,
                    "reader 4, writer 7"
                ),
            ]
        );
    }
}
