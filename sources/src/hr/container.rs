use std::io::{Cursor, Read};

use changes::{Error, Result};

use super::workbook::WorkbookFile;

/// Unpacked size of a workbook, at most: what a zip bomb could cost.
const MAX_UNPACKED_BYTES: u64 = 64 * 1024 * 1024;
const MAX_PARTS: usize = 10_000;

const ZIP: &[u8] = b"PK\x03\x04";
const EMPTY_ZIP: &[u8] = b"PK\x05\x06";
/// Compound files hold the old .xls, and what Excel encrypts with a password.
const COMPOUND_FILE: &[u8] = &[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1];

/// Refuses what is no Excel workbook, before any of it is interpreted.
pub(super) fn check(file: &WorkbookFile) -> Result<()> {
    let bytes = file.bytes();
    if bytes.is_empty() {
        return Err(refused(
            file,
            "is empty",
            "Save the workbook again in Excel.",
        ));
    }
    if bytes.starts_with(COMPOUND_FILE) {
        return Err(compound_file(file));
    }
    if !bytes.starts_with(ZIP) && !bytes.starts_with(EMPTY_ZIP) {
        return Err(if looks_like_text(bytes) {
            refused(
                file,
                "is a text file, not an Excel workbook",
                "Open it in Excel and save it as \"Excel workbook (.xlsx)\"; renaming a CSV file is not enough.",
            )
        } else {
            refused(
                file,
                "is not an Excel workbook",
                "Save it as \"Excel workbook (.xlsx)\".",
            )
        });
    }
    unpacks(file)
}

fn compound_file(file: &WorkbookFile) -> Error {
    let name: Vec<u8> = "EncryptedPackage"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    if file.bytes().windows(name.len()).any(|part| part == name) {
        refused(
            file,
            "is encrypted",
            "Open it in Excel, remove the password (File > Info > Protect Workbook) and save it.",
        )
    } else {
        refused(
            file,
            "is a workbook of the old .xls format",
            "Open it in Excel and save it as \"Excel workbook (.xlsx)\".",
        )
    }
}

/// Unpacks every part once and keeps nothing: sizes and checksums that archives declare are not to be trusted.
fn unpacks(file: &WorkbookFile) -> Result<()> {
    let damaged = |cause: &str| {
        let hint = "It was perhaps cut off while copied or downloaded: fetch it again.";
        refused(file, "is damaged", hint).caused_by(cause.to_owned())
    };
    let mut archive = zip::ZipArchive::new(Cursor::new(file.bytes()))
        .map_err(|error| damaged(&error.to_string()))?;
    if archive.len() > MAX_PARTS {
        return Err(too_large(file));
    }
    let mut left = MAX_UNPACKED_BYTES;
    let mut buffer = [0; 16 * 1024];
    for at in 0..archive.len() {
        let mut part = archive
            .by_index(at)
            .map_err(|error| damaged(&error.to_string()))?;
        loop {
            let count = part
                .read(&mut buffer)
                .map_err(|error| damaged(&error.to_string()))?;
            if count == 0 {
                break;
            }
            left = left
                .checked_sub(count as u64)
                .ok_or_else(|| too_large(file))?;
        }
    }
    if archive.index_for_name("xl/workbook.bin").is_some() {
        return Err(refused(
            file,
            "is a binary workbook (.xlsb)",
            "Open it in Excel and save it as \"Excel workbook (.xlsx)\".",
        ));
    }
    if archive.index_for_name("[Content_Types].xml").is_none()
        || archive.index_for_name("xl/workbook.xml").is_none()
    {
        return Err(refused(
            file,
            "is an archive, but not an Excel workbook",
            "Save it as \"Excel workbook (.xlsx)\".",
        ));
    }
    Ok(())
}

fn looks_like_text(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(4096)];
    !start.contains(&0)
}

fn too_large(file: &WorkbookFile) -> Error {
    refused(
        file,
        "unpacks to more than 64 MiB",
        "Remove sheets, images and formatting that HR data does not need.",
    )
}

pub(super) fn refused(file: &WorkbookFile, what: &str, hint: &str) -> Error {
    Error::invalid(format!("workbook \"{}\" {what}", file.name())).hint(hint)
}
