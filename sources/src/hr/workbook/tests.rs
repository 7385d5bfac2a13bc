use std::collections::BTreeMap;

use changes::ErrorKind;
use rust_xlsxwriter::Workbook as Writer;

use super::*;

const HEADERS: [&str; 11] = [
    "ID salarié",
    "Nom",
    "Prénom",
    "Date de naissance",
    "BU",
    "Date d'embauche",
    "Salaire brut",
    "Type de contrat",
    "Nombre de jours de CP",
    "Adresse du domicile",
    "Moyen de déplacement",
];

const ROW: [&str; 11] = [
    "59019",
    "Martin",
    "Zoé",
    "14/7/1989",
    "R&D",
    "2/1/2015",
    "30 940",
    "CDI",
    "25",
    "1 rue Haute, 34000 Montpellier",
    "Marche/running",
];

/// A workbook of text cells.
fn workbook(rows: &[Vec<&str>]) -> Vec<u8> {
    let mut workbook = Writer::new();
    let sheet = workbook.add_worksheet();
    sheet.set_name("Feuille").expect("a name");
    for (row, cells) in (0..).zip(rows) {
        for (column, cell) in (0..).zip(cells) {
            sheet.write(row, column, *cell).expect("written");
        }
    }
    workbook.save_to_buffer().expect("saved")
}

fn with_cell(column: usize, text: &'static str) -> Vec<u8> {
    let mut row = ROW.to_vec();
    row[column] = text;
    workbook(&[HEADERS.to_vec(), ROW.to_vec(), other(row)])
}

fn other(mut row: Vec<&'static str>) -> Vec<&'static str> {
    if row[0] == ROW[0] {
        row[0] = "59020";
    }
    row
}

fn good() -> Vec<u8> {
    workbook(&[HEADERS.to_vec(), ROW.to_vec()])
}

#[track_caller]
fn check(bytes: impl Into<Vec<u8>>, message: &str, hint: &str) {
    let file = WorkbookFile::new("hr.xlsx", bytes);
    let error = read(&file, None).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    let text = error.to_string();
    assert!(text.contains(message), "{text}");
    let hinted = error.hint_text().unwrap_or_default();
    assert!(hinted.contains(hint), "{hinted}");
    for personal in ["Martin", "Zoé", "Haute", "environ"] {
        assert!(
            !format!("{text} {hinted}").contains(personal),
            "{text} {hinted}"
        );
    }
}

#[test]
fn a_good_workbook_is_read() {
    let workbook = read(&WorkbookFile::new("hr.xlsx", good()), None).expect("read");
    assert_eq!(workbook.employees.len(), 1);
    assert_eq!(workbook.employees[0].id, 59019);
    assert_eq!(workbook.employees[0].salaire_brut.to_string(), "30940.00");
    assert!(workbook.sports.is_none());
}

#[test]
fn headers_match_however_they_are_spelt() {
    let headers = HEADERS
        .map(str::to_uppercase)
        .map(|h| h.replace('\'', "’") + " ");
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let bytes = workbook(&[headers, ROW.to_vec()]);
    assert!(read(&WorkbookFile::new("hr.xlsx", bytes), None).is_ok());
}

#[test]
fn bad_tables_are_refused_with_the_place() {
    let renamed = HEADERS.map(|h| if h == "Salaire brut" { "Salaire" } else { h });
    check(
        workbook(&[renamed.to_vec(), ROW.to_vec()]),
        "workbook \"hr.xlsx\", sheet \"Feuille\" has no column \"Salaire brut\"",
        "The nearest header is \"Salaire\"",
    );
    check(
        workbook(&[HEADERS[..10].to_vec(), ROW.to_vec()]),
        "has no column \"Moyen de déplacement\"",
        "\"Moyen de déplacement\"",
    );
    let twice = HEADERS.map(|h| if h == "BU" { "NOM" } else { h });
    check(
        workbook(&[twice.to_vec(), ROW.to_vec()]),
        "two columns \"Nom\"",
        "rename",
    );
    check(
        with_cell(6, "environ 30k"),
        "row 3, column \"Salaire brut\": not an amount",
        "30940.50",
    );
    check(
        with_cell(6, ""),
        "column \"Salaire brut\": blank",
        "Fill in",
    );
    check(
        with_cell(0, "Martin"),
        "column \"ID salarié\": not a whole number",
        "whole",
    );
    check(
        with_cell(0, "0"),
        "column \"ID salarié\": not an identifier",
        "above 0",
    );
    check(
        with_cell(3, "environ 1989"),
        "column \"Date de naissance\": not a date",
        "14/07/1989",
    );
    check(
        with_cell(8, "beaucoup"),
        "column \"Nombre de jours de CP\"",
        "whole number",
    );
    check(
        workbook(&[HEADERS.to_vec(), ROW.to_vec(), ROW.to_vec()]),
        "row 3, column \"ID salarié\": the same employee as in row 2",
        "one row an employee",
    );
    check(
        workbook(&[HEADERS.to_vec()]),
        "has no employee",
        "below the header",
    );
    check(
        workbook(&[]),
        "has nothing on its first sheet",
        "header row",
    );
}

#[test]
fn what_is_no_workbook_is_refused() {
    check("", "is empty", "Save");
    check(
        "ID salarié;Nom\n59019;Martin\n",
        "is a text file",
        "renaming a CSV",
    );
    check(vec![0, 1, 2, 3], "is not an Excel workbook", ".xlsx");

    let compound = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec();
    let utf16 = "EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes);
    let encrypted: Vec<u8> = compound.iter().copied().chain(utf16).collect();
    check(encrypted, "is encrypted", "remove the password");
    check(compound, "old .xls format", ".xlsx");

    let good = good();
    for length in [10, good.len() / 2, good.len() - 1] {
        check(&good[..length], "is damaged", "fetch it again");
    }
    let mut corrupt = good.clone();
    let middle = corrupt.len() / 2;
    corrupt[middle..middle + 64].fill(0xff);
    check(corrupt, "is damaged", "fetch it again");
    check(
        archive(&[("word/document.xml", 10)]),
        "but not an Excel workbook",
        ".xlsx",
    );
    check(archive(&[("xl/workbook.bin", 10)]), ".xlsb", ".xlsx");
}

#[test]
fn a_zip_bomb_is_refused() {
    let bomb = archive(&[("xl/workbook.xml", 65 * 1024 * 1024)]);
    assert!(bomb.len() < 1024 * 1024);
    check(bomb, "unpacks to more than 64 MiB", "Remove");
}

/// A zip archive of parts of so many zero bytes.
fn archive(parts: &[(&str, usize)]) -> Vec<u8> {
    use std::io::Write;
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, size) in parts {
        let options = zip::write::SimpleFileOptions::default();
        archive.start_file(*name, options).expect("started");
        archive.write_all(&vec![0; *size]).expect("written");
    }
    archive.finish().expect("finished").into_inner()
}

#[test]
fn a_far_away_cell_costs_nothing() {
    let mut writer = Writer::new();
    let sheet = writer.add_worksheet();
    for (column, (header, cell)) in (0..).zip(HEADERS.iter().zip(ROW)) {
        sheet.write(0, column, *header).expect("written");
        sheet.write(1, column, cell).expect("written");
    }
    sheet.write(1_048_575, 16_383, "x").expect("written");
    let bytes = writer.save_to_buffer().expect("saved");
    let workbook = read(&WorkbookFile::new("hr.xlsx", bytes), None).expect("read");
    assert_eq!(workbook.employees.len(), 1);
}

#[test]
fn damaged_bytes_never_panic() {
    let good = good();
    for at in (0..good.len()).step_by(7) {
        let mut damaged = good.clone();
        damaged[at] ^= 0x5a;
        let _either = read(&WorkbookFile::new("hr.xlsx", damaged), None);
    }
}

#[test]
fn files_that_cannot_be_opened_say_so() {
    let absent = WorkbookFile::open(Path::new("no/such/file.xlsx")).err();
    assert_eq!(absent.map(|error| error.kind()), Some(ErrorKind::NotFound));
    let directory = tempfile::tempdir().expect("a directory");
    let failed = WorkbookFile::open(directory.path()).err();
    assert_eq!(
        failed.map(|error| error.kind()),
        Some(ErrorKind::InvalidRequest)
    );
}

#[test]
fn the_sample_has_the_quirks_of_real_files() {
    let sample = Workbook::sample().expect("read");
    assert_eq!(sample.employees.len(), 161);
    let sports = sample.sports.as_ref().expect("with sports");
    assert_eq!(sports.len(), 161 - 27);
    assert!(sports.values().any(|sport| sport == "Runing"));
    assert!(
        sample
            .employees
            .iter()
            .all(|e| e.date_naissance.is_some() && e.date_embauche.is_some())
    );
    assert!(
        sample
            .employees
            .iter()
            .any(|e| e.salaire_brut.0 % 100 == 34)
    );
    let count = |values: Vec<&Option<String>>| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for value in values {
            *counts.entry(value.clone().unwrap_or_default()).or_default() += 1;
        }
        counts
    };
    let modes = count(
        sample
            .employees
            .iter()
            .map(|e| &e.moyen_deplacement)
            .collect(),
    );
    let expected = [
        "Marche/running",
        "Transports en commun",
        "Vélo/Trottinette/Autres",
        "véhicule thermique/électrique",
    ];
    assert_eq!(modes.keys().collect::<Vec<_>>(), expected);
    assert_eq!(
        count(sample.employees.iter().map(|e| &e.bu).collect()).len(),
        5
    );

    let communes = crate::commute::Communes::bundled();
    let ways = sample.employees.iter().map(|e| {
        let estimate = crate::commute::estimate(communes, e.adresse.as_deref());
        (e.moyen_deplacement.as_deref().unwrap_or_default(), estimate)
    });
    let ways: Vec<_> = ways.collect();
    let flags: Vec<_> = ways.iter().filter_map(|(_, way)| way.flag).collect();
    assert!(flags.contains(&crate::commute::Flag::PostcodeMismatch));
    assert!(flags.contains(&crate::commute::Flag::UnknownCommune));
    assert!(flags.len() < 20, "{flags:?}");
    let count = |mode: &str, from: f64, to: f64| {
        let metres = ways
            .iter()
            .filter(|way| way.0 == mode)
            .filter_map(|way| way.1.distance_m);
        metres.filter(|metres| (from..=to).contains(metres)).count()
    };
    for (mode, limit) in [("Marche/running", 15e3), ("Vélo/Trottinette/Autres", 25e3)] {
        let (near, far) = (count(mode, 0.0, limit), count(mode, limit + 1.0, 1e9));
        assert!(
            near >= 20 && (1..=10).contains(&far),
            "{mode}: {near} near, {far} far"
        );
    }
}
