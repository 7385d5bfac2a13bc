use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

use super::Finding;
use crate::commands::notify;
use crate::config::Config;

/// Below this nothing should be started; twenty times as much is where somebody should look.
const LEAST_BYTES: u64 = 256 << 20;
const FEW_BYTES: u64 = 20 * LEAST_BYTES;

/// Whether the folders of the project's state can be written, and how much still fits.
pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let mut folders: BTreeMap<PathBuf, Vec<&str>> = BTreeMap::new();
    for (key, folder) in written(config) {
        folders.entry(folder).or_default().push(key);
    }
    let folders = folders.iter();
    folders
        .map(|(folder, keys)| folder_of(&format!("folder {}", keys.join(", ")), folder))
        .collect()
}

/// Each configuration key that says where something is kept, with its folder.
fn written(config: &Config) -> Vec<(&'static str, PathBuf)> {
    let lake = config.lake.uri.trim_start_matches("file://");
    let mut written = vec![("lake.uri", PathBuf::from(lake))];
    if config.kafka.is_embedded() {
        written.push(("broker.path", config.broker.path.clone()));
    }
    for (key, file) in [
        ("flight.key_file", &config.flight.key_file),
        ("flight.audit", &config.flight.audit),
    ] {
        if !file.is_empty() {
            written.push((key, folder_around(Path::new(file))));
        }
    }
    if matches!(config.database.postgres(), Ok(Some(_))) {
        written.push(("cdc.state", folder_around(&config.cdc.state)));
    }
    if notify::is_configured(&config.notify) {
        written.push(("notify.path", config.notify.path.clone()));
    }
    written.push(("commute.cache", folder_around(&config.commute.cache)));
    let spill = &config.read.spill_path;
    if !spill.as_os_str().is_empty() {
        written.push(("read.spill_path", spill.clone()));
    }
    written
}

fn folder_around(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn folder_of(check: &str, folder: &Path) -> Finding {
    let shown = folder.display();
    let Some(existing) = folder.ancestors().map(or_here).find(|path| path.exists()) else {
        return Finding::fail(check, format!("\"{shown}\" cannot be reached"), RIGHTS);
    };
    if !existing.is_dir() {
        let found = format!("\"{}\" is no folder", existing.display());
        return Finding::fail(check, found, "Move the file away, or name another folder.");
    }
    if let Err(error) = access(existing, AccessFlags::W_OK | AccessFlags::X_OK) {
        let found = format!(
            "\"{}\" cannot be written: {}",
            existing.display(),
            error.desc()
        );
        return Finding::fail(check, found, RIGHTS);
    }
    let made = match existing == folder {
        true => "",
        false => ", made at the first start",
    };
    let free = match statvfs(existing) {
        Ok(disk) => disk.blocks_available().saturating_mul(disk.fragment_size()),
        Err(error) => {
            let found = format!(
                "the disk of \"{shown}\" does not say what is free: {}",
                error.desc()
            );
            return Finding::warn(check, found, "Look whether its disk is mounted.");
        }
    };
    room(check, &format!("\"{shown}\"{made}"), free)
}

/// What so many free bytes mean for a folder.
fn room(check: &str, folder: &str, free: u64) -> Finding {
    let found = format!("{folder}, {} free", size(free));
    match free {
        ..LEAST_BYTES => Finding::fail(check, found, SPACE),
        LEAST_BYTES..FEW_BYTES => Finding::warn(check, found, SPACE),
        _ => Finding::ok(check, found),
    }
}

const RIGHTS: &str = "Give it to the user that runs sportlake, or name another folder.";
const SPACE: &str = "Make room, or move the folder: docs/operations.md, \"The disk is full\".";

/// The last ancestor of a relative path is the empty one, which means here.
fn or_here(path: &Path) -> &Path {
    match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    }
}

fn size(bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    match bytes {
        GIB.. => format!("{} GiB", bytes / GIB),
        _ => format!("{} MiB", bytes >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::State;

    #[test]
    fn little_room_is_told_before_there_is_none() {
        for (free, state, found) in [
            (0, State::Fail, "\"data\", 0 MiB free"),
            (LEAST_BYTES - 1, State::Fail, "\"data\", 255 MiB free"),
            (LEAST_BYTES, State::Warn, "\"data\", 256 MiB free"),
            (FEW_BYTES - 1, State::Warn, "\"data\", 4 GiB free"),
            (FEW_BYTES, State::Ok, "\"data\", 5 GiB free"),
            (u64::MAX, State::Ok, "\"data\", 17179869183 GiB free"),
        ] {
            let finding = room("folder lake.uri", "\"data\"", free);
            assert_eq!((finding.state, finding.found.as_str()), (state, found));
            assert_eq!(finding.hint.is_empty(), state == State::Ok);
        }
    }
}
