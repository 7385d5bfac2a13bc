use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use calamine::Data;
use changes::{Error, ErrorKind, Result};

use super::cells;
use super::employee::Employee;
use super::sheet::{Fault, Sheet, SheetRow};

/// Size of a workbook file, at most.
const MAX_FILE_BYTES: u64 = 20 * 1024 * 1024;
const ID: &str = "ID salarié";

/// A workbook as bytes, with the name that errors use.
#[derive(Clone)]
pub struct WorkbookFile {
    name: String,
    bytes: Vec<u8>,
}

impl WorkbookFile {
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            bytes: bytes.into(),
        }
    }

    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let failed = |error: std::io::Error| {
            let message = format!("could not read workbook \"{name}\"");
            match error.kind() {
                std::io::ErrorKind::NotFound => {
                    Error::new(ErrorKind::NotFound, format!("no workbook at \"{name}\""))
                        .hint("Check the path; it is relative to the current directory.")
                }
                std::io::ErrorKind::PermissionDenied => {
                    Error::new(ErrorKind::PermissionDenied, message)
                        .hint("Ask for the right to read the file.")
                }
                _ => Error::invalid(message).hint("Give the path of an .xlsx file."),
            }
            .caused_by(error)
        };
        let file = std::fs::File::open(path).map_err(&failed)?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(&failed)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(
                Error::invalid(format!("workbook \"{name}\" is larger than 20 MiB"))
                    .hint("Remove sheets, images and formatting that HR data does not need."),
            );
        }
        Ok(Self { name, bytes })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What HR's workbooks say.
#[derive(Debug, Clone, PartialEq)]
pub struct Workbook {
    /// In the order of the sheet.
    pub employees: Vec<Employee>,
    /// Declared sport by employee, those with one only; `None` when there was no workbook of sports.
    pub sports: Option<BTreeMap<i64, String>>,
}

impl Workbook {
    /// The 161 invented employees that `examples/sample_workbooks.rs` writes.
    pub fn sample() -> Result<Self> {
        let employees = include_bytes!("../../samples/employes.xlsx").as_slice();
        let sports = include_bytes!("../../samples/sports.xlsx").as_slice();
        read(
            &WorkbookFile::new("sample employes.xlsx", employees),
            Some(&WorkbookFile::new("sample sports.xlsx", sports)),
        )
    }
}

/// Reads the workbook of the employees, and that of their sports when there is one.
pub fn read(employees: &WorkbookFile, sports: Option<&WorkbookFile>) -> Result<Workbook> {
    Ok(Workbook {
        employees: read_employees(employees)?,
        sports: sports.map(read_sports).transpose()?,
    })
}

fn read_employees(file: &WorkbookFile) -> Result<Vec<Employee>> {
    let sheet = Sheet::read(file)?;
    let field = |header| -> Result<Field<'_>> {
        Ok(Field {
            sheet: &sheet,
            header,
            column: sheet.column(header)?,
        })
    };
    let id = field(ID)?;
    let nom = field("Nom")?;
    let prenom = field("Prénom")?;
    let date_naissance = field("Date de naissance")?;
    let bu = field("BU")?;
    let date_embauche = field("Date d'embauche")?;
    let salaire_brut = field("Salaire brut")?;
    let type_contrat = field("Type de contrat")?;
    let jours_cp = field("Nombre de jours de CP")?;
    let adresse = field("Adresse du domicile")?;
    let moyen_deplacement = field("Moyen de déplacement")?;
    let mut ids = Ids::default();
    let mut employees = Vec::with_capacity(sheet.rows().len());
    for row in sheet.rows() {
        employees.push(Employee {
            id: ids.next(&id, row)?,
            nom: nom.required(row, cells::text)?,
            prenom: prenom.required(row, cells::text)?,
            date_naissance: date_naissance.read(row, cells::date)?,
            bu: bu.read(row, cells::text)?,
            date_embauche: date_embauche.read(row, cells::date)?,
            salaire_brut: salaire_brut.required(row, cells::money)?,
            type_contrat: type_contrat.read(row, cells::text)?,
            jours_cp: jours_cp.read(row, cells::whole_number)?,
            adresse: adresse.read(row, cells::text)?,
            moyen_deplacement: moyen_deplacement.read(row, cells::text)?,
        });
    }
    if employees.is_empty() {
        let message = format!("workbook \"{}\" has no employee", file.name());
        return Err(Error::invalid(message)
            .hint("Put the employees on the first sheet, one a row, below the header row."));
    }
    Ok(employees)
}

fn read_sports(file: &WorkbookFile) -> Result<BTreeMap<i64, String>> {
    let sheet = Sheet::read(file)?;
    let field = |header| -> Result<Field<'_>> {
        Ok(Field {
            sheet: &sheet,
            header,
            column: sheet.column(header)?,
        })
    };
    let id = field(ID)?;
    let sport = field("Pratique d'un sport")?;
    let mut ids = Ids::default();
    let mut sports = BTreeMap::new();
    for row in sheet.rows() {
        let id = ids.next(&id, row)?;
        if let Some(sport) = sport.read(row, cells::text)? {
            sports.insert(id, sport);
        }
    }
    Ok(sports)
}

/// One column of a sheet.
struct Field<'a> {
    sheet: &'a Sheet,
    header: &'static str,
    column: u32,
}

impl Field<'_> {
    fn read<T>(
        &self,
        row: &SheetRow,
        parse: impl Fn(&Data) -> Result<Option<T>, Fault>,
    ) -> Result<Option<T>> {
        parse(row.cell(self.column)).map_err(|fault| self.wrong(row, &fault))
    }

    fn required<T>(
        &self,
        row: &SheetRow,
        parse: impl Fn(&Data) -> Result<Option<T>, Fault>,
    ) -> Result<T> {
        self.read(row, parse)?
            .ok_or_else(|| self.wrong(row, &Fault::new("blank", "Fill in this cell.")))
    }

    fn wrong(&self, row: &SheetRow, fault: &Fault) -> Error {
        self.sheet.wrong(row, self.header, fault)
    }
}

/// The identifiers seen so far, with their rows.
#[derive(Default)]
struct Ids(BTreeMap<i64, u32>);

impl Ids {
    fn next(&mut self, field: &Field<'_>, row: &SheetRow) -> Result<i64> {
        let id = field.required(row, cells::whole_number)?;
        if id <= 0 {
            let fault = Fault::new(
                "not an identifier",
                "Identifiers are whole numbers above 0.",
            );
            return Err(field.wrong(row, &fault));
        }
        match self.0.insert(id, row.number) {
            None => Ok(id),
            Some(first) => {
                let what = format!("the same employee as in row {first}");
                let fault = Fault::new(what, "Keep one row an employee.");
                Err(field.wrong(row, &fault))
            }
        }
    }
}

#[cfg(test)]
mod tests;
