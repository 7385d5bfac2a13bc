use std::fmt;

use chrono::NaiveDate;
use serde_json::{Value, json};

use crate::changelog::Row;

/// An amount of euros in whole cents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cents(pub i64);

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// One row of the employees' workbook; `None` where the cell is blank.
#[derive(Clone, PartialEq)]
pub struct Employee {
    pub id: i64,
    pub nom: String,
    pub prenom: String,
    pub date_naissance: Option<NaiveDate>,
    pub bu: Option<String>,
    pub date_embauche: Option<NaiveDate>,
    pub salaire_brut: Cents,
    pub type_contrat: Option<String>,
    pub jours_cp: Option<i64>,
    pub adresse: Option<String>,
    pub moyen_deplacement: Option<String>,
}

impl Employee {
    /// The row as Debezium writes it: days since 1970, money as decimal text.
    pub(crate) fn row(&self) -> Row {
        [
            ("id", json!(self.id)),
            ("nom", json!(self.nom)),
            ("prenom", json!(self.prenom)),
            ("date_naissance", days(self.date_naissance)),
            ("bu", json!(self.bu)),
            ("date_embauche", days(self.date_embauche)),
            ("salaire_brut", json!(self.salaire_brut.to_string())),
            ("type_contrat", json!(self.type_contrat)),
            ("jours_cp", json!(self.jours_cp)),
            ("adresse", json!(self.adresse)),
            ("moyen_deplacement", json!(self.moyen_deplacement)),
        ]
        .into_iter()
        .map(|(column, value)| (column.to_owned(), value))
        .collect()
    }
}

/// Names, salaries and addresses stay out of logs.
impl fmt::Debug for Employee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Employee")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn days(date: Option<NaiveDate>) -> Value {
    date.map_or(Value::Null, |date| json!(date.to_epoch_days()))
}
