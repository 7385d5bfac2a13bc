//! The rules of the house that a compiler does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which crates of ours a crate may name. What is absent is the architecture.
const ARROWS: [(&str, &[&str]); 12] = [
    ("changes", &[]),
    ("debezium", &[]),
    ("disk", &[]),
    ("exports", &[]),
    ("sql-files", &[]),
    ("engine", &["debezium", "disk", "sql-files"]),
    ("console", &["engine", "exports"]),
    ("flight-server", &["engine"]),
    ("ingest", &["changes", "engine"]),
    ("sources", &["changes", "disk"]),
    ("notify", &["changes", "disk"]),
    (
        ".",
        &[
            "changes",
            "console",
            "disk",
            "engine",
            "exports",
            "flight-server",
            "ingest",
            "notify",
            "sources",
        ],
    ),
];

/// Test-only arrows: what reads topics is tested against the embedded broker, on a disk that fails, the page behind the
/// real sign-in.
const TEST_ARROWS: [(&str, &str); 4] = [
    ("console", "flight-server"),
    ("ingest", "disk"),
    ("ingest", "sources"),
    ("notify", "sources"),
];

/// Dependencies that only one crate may name.
const OWNED: [(&str, &str); 4] = [
    ("deltalake", "engine"),
    ("ballista", "engine"),
    ("tonic", "flight-server"),
    ("arrow-flight", "flight-server"),
];

/// How files are changed; what must last is changed through `disk` alone.
const CHANGES: [&str; 14] = [
    "fs::write",
    "fs::rename",
    "fs::remove_",
    "fs::create_dir",
    "fs::copy",
    "fs::hard_link",
    "fs::set_permissions",
    "fs::File::create",
    "fs::File::options",
    "OpenOptions",
    "LocalFileSystem",
    "DirBuilder",
    "symlink(",
    "tokio::fs::File",
];

/// Files that change others by themselves, and why.
const UNKEPT: [(&str, &str); 6] = [
    ("engine/src/lake.rs", "a folder of a lake that tries out"),
    ("engine/src/overlay.rs", "a lake that tries out"),
    (
        "flight-server/src/audit.rs",
        "a log that is written as statements end, and not waited for",
    ),
    (
        "flight-server/src/private_file.rs",
        "synced there: files of the server that nobody else may read, outside the lake",
    ),
    ("engine/src/trial/world.rs", "a test's temporary lake"),
    (
        "src/commands/validate.rs",
        "a report that can be made again",
    ),
];

/// Modules compiled for tests alone whose names do not tell.
const TESTS: [&str; 2] = ["engine/src/durability", "sources/src/broker/power_cut.rs"];

/// Reads the lake's files by the same store as it writes them, which it wraps.
const STORE: &str = "engine/src/store.rs";

const LONGEST_FILE: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn manifest(room: &str) -> toml::Table {
    let path = root().join(room).join("Cargo.toml");
    let text = std::fs::read_to_string(&path).expect("a manifest");
    toml::from_str(&text).expect("TOML")
}

fn dependencies(manifest: &toml::Table, section: &str) -> BTreeSet<String> {
    let table = manifest.get(section).and_then(toml::Value::as_table);
    table
        .map(|table| table.keys().cloned().collect())
        .unwrap_or_default()
}

/// Every file of the repository that git knows or would add, relative to its root.
fn files() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    if let Ok(listed) = listed
        && listed.status.success()
    {
        let names = String::from_utf8(listed.stdout).expect("UTF-8 names");
        let exists = |name: &&str| root().join(name).is_file();
        return names.lines().filter(exists).map(PathBuf::from).collect();
    }
    let mut found = Vec::new();
    walk(root(), &mut found);
    found
}

/// For a source archive without git: everything but what a build or a run leaves.
fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.strip_prefix(root()).expect("below the root");
        if path.is_dir()
            && !["target", "data", ".git"]
                .iter()
                .any(|skip| name.starts_with(skip))
        {
            walk(&path, found);
        } else if path.is_file() {
            found.push(name.to_owned());
        }
    }
}

fn extension(path: &Path) -> &str {
    path.extension()
        .and_then(|text| text.to_str())
        .unwrap_or_default()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(root().join(path)).expect("a text file")
}

#[test]
fn arrows_point_one_way() {
    let members = manifest(".");
    let members = members["workspace"]["members"].as_array().expect("a list");
    let rooms: BTreeSet<&str> = members.iter().filter_map(toml::Value::as_str).collect();
    let ruled: BTreeSet<&str> = ARROWS
        .iter()
        .map(|(room, _)| *room)
        .filter(|room| *room != ".")
        .collect();
    assert_eq!(rooms, ruled, "every room has a rule");
    for (room, allowed) in ARROWS {
        let manifest = manifest(room);
        for dependency in dependencies(&manifest, "dependencies") {
            let ours = rooms.contains(dependency.as_str());
            assert!(
                !ours || allowed.contains(&dependency.as_str()),
                "{room} must not name {dependency}"
            );
        }
        for dependency in dependencies(&manifest, "dev-dependencies") {
            let ours = rooms.contains(dependency.as_str());
            assert!(
                !ours
                    || allowed.contains(&dependency.as_str())
                    || TEST_ARROWS.contains(&(room, &dependency)),
                "the tests of {room} must not name {dependency}"
            );
        }
    }
}

#[test]
fn what_one_crate_owns_no_other_names() {
    for (room, _) in ARROWS {
        let manifest = manifest(room);
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for dependency in dependencies(&manifest, section) {
                for (owned, owner) in OWNED {
                    assert!(
                        !dependency.starts_with(owned) || room == owner,
                        "{room} names {dependency}, which is {owner}'s"
                    );
                }
            }
        }
    }
}

#[test]
fn kafka_settings_come_from_one_place() {
    for file in files().iter().filter(|file| extension(file) == "rs") {
        let test =
            file.ends_with("tests.rs") || file.components().any(|part| part.as_os_str() == "tests");
        if test || file.starts_with("changes/src") {
            continue;
        }
        let text = read(file);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        assert!(
            !code.contains(concat!("ClientConfig", "::new")),
            "{} makes its own Kafka settings; take them from changes::KafkaConfig::client",
            file.display()
        );
    }
}

/// A step that goes past `disk` is one that no crash test sees.
#[test]
fn files_are_changed_in_one_place() {
    let mut unkept = BTreeSet::new();
    for file in files().iter().filter(|file| extension(file) == "rs") {
        let parts = || file.components().map(|part| part.as_os_str());
        let is_test = file.ends_with("tests.rs")
            || parts().any(|part| {
                ["tests", "examples", "fuzz", "benches"]
                    .iter()
                    .any(|name| part == *name)
            })
            || TESTS.iter().any(|tests| file.starts_with(tests));
        if is_test || file.starts_with("disk") || file == Path::new(STORE) {
            continue;
        }
        let text = read(file);
        let code = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default();
        let imported = |name: &str| code.contains(&format!("use disk::{name}"));
        let own_file = ["File::create(", "File::options(", "File::create_new("]
            .iter()
            .find(|call| code.contains(**call) && !imported("File"));
        let found = CHANGES
            .iter()
            .find(|change| code.contains(**change))
            .or(own_file);
        if let Some(found) = found {
            let name = file.to_str().expect("UTF-8");
            assert!(
                UNKEPT.iter().any(|(unkept, _)| *unkept == name),
                "{name} changes files by {found}; what must last is changed through disk"
            );
            unkept.insert(name.to_owned());
        }
    }
    let named: BTreeSet<String> = UNKEPT.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(unkept, named, "an exception that is none any more");
}

#[test]
fn files_stay_small_and_are_named_by_nouns() {
    for file in files() {
        if !["rs", "sql", "md", "py", "sh"].contains(&extension(&file)) {
            continue;
        }
        let lines = read(&file).lines().count();
        assert!(
            lines <= LONGEST_FILE,
            "{} has {lines} lines",
            file.display()
        );
        let stem = file
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        assert!(
            !["utils", "util", "common", "types", "helpers", "misc"].contains(&stem),
            "{} is named after no thing of the domain",
            file.display()
        );
    }
}

#[test]
fn no_test_file_is_forgotten() {
    let mut suites: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for file in files().iter().filter(|file| extension(file) == "rs") {
        let folder = file.parent().unwrap_or(Path::new(""));
        if folder.file_name().is_some_and(|name| name == "tests")
            && !folder.components().any(|part| part.as_os_str() == "src")
        {
            let stem = file
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            suites.entry(folder.to_owned()).or_default().push(stem);
        }
    }
    for (folder, stems) in suites {
        let room = folder
            .parent()
            .expect("a room")
            .to_string_lossy()
            .into_owned();
        let manifest = manifest(if room.is_empty() { "." } else { &room });
        assert_eq!(
            manifest["package"]
                .get("autotests")
                .and_then(toml::Value::as_bool),
            Some(false),
            "{room} would link one binary a test file"
        );
        let targets = manifest["test"].as_array().cloned().unwrap_or_default();
        let targets: BTreeSet<String> = targets
            .iter()
            .filter_map(|target| Some(target.get("path")?.as_str()?.to_owned()))
            .collect();
        let roots: Vec<String> = targets
            .iter()
            .map(|path| read(&Path::new(&room).join(path)))
            .collect();
        for stem in stems {
            let is_root = targets.contains(&format!("tests/{stem}.rs"));
            let named = roots
                .iter()
                .any(|text| text.contains(&format!("mod {stem};")));
            assert!(
                is_root || named,
                "{}/{stem}.rs runs nowhere",
                folder.display()
            );
        }
    }
}

#[test]
fn no_crate_links_datafusion_for_doctests() {
    for (room, _) in ARROWS.iter().filter(|(room, _)| *room != ".") {
        let doctest = manifest(room)["lib"].get("doctest").cloned();
        assert_eq!(doctest, Some(toml::Value::Boolean(false)), "{room}");
    }
}

/// A feature that only tests turn on would build its crate, and all that stand on it, a second time.
#[test]
fn tests_and_the_program_share_one_build_of_the_dependencies() {
    // A crate may be built for the machine that compiles too, with other features.
    for (program, tests) in [
        ("normal,no-proc-macro", "normal,dev,no-proc-macro"),
        ("no-dev", "normal,build,dev"),
    ] {
        are_alike(&features(program), &features(tests));
    }
}

#[track_caller]
fn are_alike(
    program: &BTreeMap<String, BTreeSet<String>>,
    tests: &BTreeMap<String, BTreeSet<String>>,
) {
    for (package, features) in program {
        let others = tests
            .get(package)
            .expect("tests build what the program builds");
        for set in features {
            assert!(
                others.contains(set),
                "{package} has the features \"{set}\" in the program and {others:?} with its tests: \
                 align them in the workspace's manifest"
            );
        }
    }
}

/// Package and version, with the feature sets it is built with.
fn features(edges: &str) -> BTreeMap<String, BTreeSet<String>> {
    let listed = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--workspace",
            "--locked",
            "--offline",
            "--prefix",
            "none",
        ])
        .args(["--edges", edges, "--format", "{p}|{f}"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        listed.status.success(),
        "{}",
        String::from_utf8_lossy(&listed.stderr)
    );
    let mut packages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in String::from_utf8(listed.stdout).expect("UTF-8").lines() {
        if let Some((package, features)) = line.trim_end_matches(" (*)").split_once('|') {
            let package = package.split(" (").next().unwrap_or(package).to_owned();
            packages
                .entry(package)
                .or_default()
                .insert(features.to_owned());
        }
    }
    packages
}
