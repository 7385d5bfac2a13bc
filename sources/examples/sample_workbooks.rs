//! Writes the sample workbooks: 161 invented employees, with the quirks that real HR files have.
//!
//! `cargo run -p sources --example sample_workbooks` from the root rewrites `sources/samples/`. Every name, address and
//! salary is drawn from lists by a seed; nobody is meant.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;

use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rust_xlsxwriter::{DocProperties, ExcelDateTime, Format, Workbook};

const SEED: u64 = 34970;
const EMPLOYEES: usize = 161;

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

const LAST_NAMES: [&str; 64] = [
    "Martin",
    "Bernard",
    "Thomas",
    "Petit",
    "Robert",
    "Richard",
    "Durand",
    "Dubois",
    "Moreau",
    "Laurent",
    "Simon",
    "Michel",
    "Lefèvre",
    "Leroy",
    "Roux",
    "David",
    "Bertrand",
    "Morel",
    "Fournier",
    "Girard",
    "Bonnet",
    "Dupont",
    "Lambert",
    "Fontaine",
    "Rousseau",
    "Vincent",
    "Müller",
    "Lefebvre",
    "Faure",
    "André",
    "Mercier",
    "Blanc",
    "Guérin",
    "Boyer",
    "Garnier",
    "Chevalier",
    "François",
    "Legrand",
    "Gauthier",
    "Garcia",
    "Perrin",
    "Robin",
    "Clément",
    "Morin",
    "Nicolas",
    "Henry",
    "Roussel",
    "Mathieu",
    "Gautier",
    "Masson",
    "Da Silva",
    "N'Guyen",
    "El Amrani",
    "de La Tour",
    "Dupuis-Lacaze",
    "Benoît",
    "Cœuret",
    "Lemaître",
    "Pagès",
    "Barthès",
    "Cazalès",
    "Saint-Pierre",
    "Ibáñez",
    "Yılmaz",
];

const FIRST_NAMES: [&str; 48] = [
    "Marie",
    "Jean",
    "Anne-Sophie",
    "Jean-Baptiste",
    "Chloé",
    "Léa",
    "Zoé",
    "Hélène",
    "Théo",
    "Loïc",
    "Maël",
    "Noémie",
    "Inès",
    "Yasmine",
    "Mehdi",
    "Karim",
    "Aïcha",
    "Fatoumata",
    "Louis",
    "Gabriel",
    "Raphaël",
    "Jules",
    "Adèle",
    "Rose",
    "Camille",
    "Dominique",
    "Claude",
    "Éric",
    "Émilie",
    "Étienne",
    "Cédric",
    "Sébastien",
    "Aurélie",
    "Laëtitia",
    "Frédéric",
    "Benoît",
    "Marie-Claire",
    "Pierre-Yves",
    "Thi Mai",
    "Søren",
    "Joaquín",
    "Sofia",
    "Nathan",
    "Hugo",
    "Manon",
    "Lucie",
    "Paul",
    "Agnès",
];

const BUS: [(&str, u32); 5] = [
    ("Ventes", 40),
    ("R&D", 35),
    ("Support", 30),
    ("Marketing", 20),
    ("Finance", 15),
];

/// Postcode, commune, and how many live there: near, at cycling distance, far.
const HOMES: [(&str, &str, u32); 34] = [
    ("34970", "Lattes", 14),
    ("34470", "Pérols", 9),
    ("34000", "Montpellier", 20),
    ("34070", "Montpellier", 8),
    ("34080", "Montpellier", 6),
    ("34090", "Montpellier", 8),
    ("34170", "Castelnau-le-Lez", 9),
    ("34920", "Le Crès", 5),
    ("34430", "Saint-Jean-de-Védas", 6),
    ("34130", "Mauguio", 6),
    ("34250", "Palavas-les-Flots", 4),
    ("34990", "Juvignac", 4),
    ("34830", "Jacou", 3),
    ("34830", "Clapiers", 3),
    ("34790", "Grabels", 3),
    ("34740", "Vendargues", 3),
    ("34670", "Baillargues", 3),
    ("34980", "Montferrier-sur-Lez", 2),
    ("34820", "Teyran", 2),
    ("34160", "Castries", 3),
    ("34110", "Frontignan", 3),
    ("34200", "Sète", 4),
    ("34400", "Lunel", 4),
    ("34660", "Cournonterral", 2),
    ("34570", "Pignan", 2),
    ("34140", "Mèze", 1),
    ("34500", "Béziers", 2),
    ("34800", "Clermont-l'Hérault", 1),
    ("34150", "Gignac", 2),
    ("34190", "Ganges", 1),
    ("30000", "Nîmes", 4),
    ("30250", "Sommières", 2),
    ("30220", "Aigues-Mortes", 1),
    ("30900", "Nîmes", 1),
];

const STREETS: [&str; 24] = [
    "rue des Écoles",
    "avenue de la Mer",
    "rue de la Loge",
    "chemin du Mas",
    "impasse des Lauriers",
    "boulevard Gambetta",
    "place de l'Église",
    "rue du Marché",
    "allée des Pins",
    "rue Jean-Jaurès",
    "avenue Georges-Clemenceau",
    "rue de l'Aire",
    "chemin de la Rauze",
    "rue des Genêts",
    "quai des Flots",
    "rue du 8 Mai 1945",
    "rue d'Occitanie",
    "allée du Lez",
    "rue des Vignes",
    "avenue de Nîmes",
    "rue Haute",
    "passage Bruyas",
    "rue Paul-Valéry",
    "lotissement Les Cigales, rue des Fauvettes",
];

/// As people write them: half of the runners write `Runing`.
const SPORTS: [(&str, u32); 17] = [
    ("Runing", 14),
    ("Running", 14),
    ("Randonnée", 16),
    ("Natation", 13),
    ("Tennis", 13),
    ("Vélo", 10),
    ("Football", 9),
    ("Escalade", 8),
    ("Badminton", 8),
    ("Tennis de table", 5),
    ("Basketball", 5),
    ("Voile", 5),
    ("Rugby", 4),
    ("Équitation", 4),
    ("Triathlon", 4),
    ("Judo", 3),
    ("Boxe", 3),
];

const SPORTLESS: usize = 27;

struct Person {
    id: u32,
    home: usize,
    mode: &'static str,
    sport: Option<&'static str>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut rng = SmallRng::seed_from_u64(SEED);
    let people = people(&mut rng)?;
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    std::fs::create_dir_all(&samples)?;
    write_employees(&people, &mut rng, &samples.join("employes.xlsx"))?;
    write_sports(people, &mut rng, &samples.join("sports.xlsx"))?;
    Ok(())
}

fn people(rng: &mut SmallRng) -> Result<Vec<Person>, Box<dyn Error>> {
    let mut ids = BTreeSet::new();
    while ids.len() < EMPLOYEES {
        ids.insert(rng.random_range(10_013..99_980));
    }
    let mut people = Vec::new();
    for id in ids {
        let home = (0..HOMES.len()).collect::<Vec<_>>();
        let home = *home.choose_weighted(rng, |at| HOMES[*at].2)?;
        people.push(Person {
            id,
            home,
            mode: mode(home, rng),
            sport: Some(SPORTS.choose_weighted(rng, |sport| sport.1)?.0),
        });
    }
    people.shuffle(rng);
    for person in people.iter_mut().take(SPORTLESS) {
        person.sport = None;
    }
    people.shuffle(rng);
    Ok(people)
}

/// Who lives near walks or cycles more often; some of those who live far say that they do too.
fn mode(home: usize, rng: &mut SmallRng) -> &'static str {
    let (walks, cycles) = match home {
        0..=7 => (0.3, 0.32),
        8..=19 => (0.08, 0.32),
        _ => (0.09, 0.18),
    };
    let way = rng.random_range(0.0..1.0);
    if way < walks {
        "Marche/running"
    } else if way < walks + cycles {
        "Vélo/Trottinette/Autres"
    } else if rng.random_bool(0.45) {
        "Transports en commun"
    } else {
        "véhicule thermique/électrique"
    }
}

fn address(at: usize, home: usize, rng: &mut SmallRng) -> String {
    let (postcode, commune, _) = HOMES[home];
    let number = rng.random_range(1..180);
    let street = STREETS[rng.random_range(0..STREETS.len())];
    match at % 40 {
        // Without a postcode.
        7 | 23 => format!("{number} {street}, {commune}"),
        // A postcode that contradicts the commune.
        31 => format!("{number} {street}, 34300 {commune}"),
        11 => format!("{number} {street} {postcode} {}", commune.to_uppercase()),
        15 => format!(
            "{number}  {street},{postcode} {}",
            commune.replace('-', " ")
        ),
        19 => format!("{number} bis {street}, {postcode} {commune}, France"),
        // A commune that no table knows.
        39 if at > 100 => format!("{number} {street}, {postcode} Vilanova de la Mar"),
        _ => format!("{number} {street}, {postcode} {commune}"),
    }
}

fn write_employees(
    people: &[Person],
    rng: &mut SmallRng,
    path: &Path,
) -> Result<(), Box<dyn Error>> {
    let mut workbook = new_workbook()?;
    let date = Format::new().set_num_format("dd/mm/yyyy");
    let sheet = workbook.add_worksheet().set_name("Salariés")?;
    for (column, header) in (0..).zip(HEADERS) {
        sheet.write(0, column, header)?;
    }
    for (at, person) in people.iter().enumerate() {
        let row = u32::try_from(at)? + 1;
        let name = LAST_NAMES[rng.random_range(0..LAST_NAMES.len())];
        let name = match at % 29 {
            3 => name.to_uppercase(),
            13 => format!(" {name} "),
            _ => name.to_owned(),
        };
        match at % 23 {
            9 => sheet.write(row, 0, person.id.to_string())?,
            _ => sheet.write(row, 0, person.id)?,
        };
        sheet.write(row, 1, name)?;
        sheet.write(row, 2, FIRST_NAMES[rng.random_range(0..FIRST_NAMES.len())])?;
        let born = (
            rng.random_range(1962..2003),
            rng.random_range(1..=12),
            rng.random_range(1..=28),
        );
        let hired = (
            rng.random_range(2009..2026),
            rng.random_range(1..=12),
            rng.random_range(1..=28),
        );
        for (column, (year, month, day), as_text) in
            [(3, born, at % 7 == 2), (5, hired, at % 11 == 4)]
        {
            if as_text {
                sheet.write(row, column, format!("{day}/{month}/{year}"))?;
            } else {
                let day = ExcelDateTime::from_ymd(year, month, day)?;
                sheet.write_with_format(row, column, &day, &date)?;
            }
        }
        sheet.write(row, 4, BUS.choose_weighted(rng, |bu| bu.1)?.0)?;
        let salary = rng.random_range(2_150..6_900) * 10;
        match at % 37 {
            5 => sheet.write(row, 6, format!("{} {:03}", salary / 1000, salary % 1000))?,
            17 => sheet.write(row, 6, f64::from(salary) + 0.34)?,
            _ => sheet.write(row, 6, salary)?,
        };
        let contract = if rng.random_bool(0.85) { "CDI" } else { "CDD" };
        sheet.write(row, 7, contract)?;
        sheet.write(row, 8, rng.random_range(25..=30))?;
        sheet.write(row, 9, address(at, person.home, rng))?;
        match at % 31 {
            20 => sheet.write(row, 10, format!("{} ", person.mode))?,
            _ => sheet.write(row, 10, person.mode)?,
        };
    }
    // What is left when somebody empties cells instead of deleting rows.
    let end = u32::try_from(people.len())?;
    sheet.write(end + 1, 1, " ")?;
    sheet.write_blank(end + 2, 5, &date)?;
    sheet.autofit();
    workbook.save(path)?;
    Ok(())
}

fn write_sports(
    mut people: Vec<Person>,
    rng: &mut SmallRng,
    path: &Path,
) -> Result<(), Box<dyn Error>> {
    people.shuffle(rng);
    let mut workbook = new_workbook()?;
    let sheet = workbook.add_worksheet().set_name("Pratiques sportives")?;
    sheet.write(0, 0, "ID salarié")?;
    sheet.write(0, 1, "Pratique d'un sport")?;
    for (row, person) in (1..).zip(&people) {
        sheet.write(row, 0, person.id)?;
        if let Some(sport) = person.sport {
            let sport = if row % 41 == 6 {
                format!("{sport} ")
            } else {
                sport.to_owned()
            };
            sheet.write(row, 1, sport)?;
        }
    }
    workbook.save(path)?;
    Ok(())
}

/// Without the time of writing, so that the same seed gives the same file.
fn new_workbook() -> Result<Workbook, Box<dyn Error>> {
    let mut workbook = Workbook::new();
    let created = ExcelDateTime::from_ymd(2026, 1, 5)?;
    workbook.set_properties(&DocProperties::new().set_creation_datetime(&created));
    Ok(workbook)
}
