//! Random transactions on the tables of the sport project. The same seed makes the same ones.

use std::fmt::Write as _;

use crate::crash::Moments;

/// Few enough that most changes meet a row that is there.
const EMPLOYEES: u64 = 50;
const ACTIVITIES: u64 = 2000;

/// Which tables a session writes. Two of them never wait for each other, so that their transactions overlap in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    People,
    Activities,
}

pub(crate) struct Workload {
    random: Moments,
    part: Part,
}

/// Texts that somebody has to get through unharmed.
const TEXTS: [&str; 12] = [
    "",
    "NULL",
    "Léa d'Été",
    "é😀 日本 שלום",
    "e\u{301}\u{2028}",
    "\t\n\r\\\"",
    "{\"after\": null}",
    "__debezium",
    "  deux espaces ",
    "1e3",
    "<b>&amp;</b>",
    "ﬀİı",
];
const MODES: [&str; 5] = [
    "'Marche/running'",
    "'Vélo/Trottinette/Autres'",
    "'Transports en commun'",
    "'véhicule thermique/électrique'",
    "'Trottinette'",
];
const SPORTS: [&str; 6] = [
    "Running",
    "Course à pied",
    "Natation",
    "Vélo",
    "Tennis de table 🏓",
    "Judo",
];

impl Workload {
    pub(crate) fn new(seed: u64, part: Part) -> Self {
        let random = Moments(seed ^ ((part as u64) << 32));
        Self { random, part }
    }

    /// At least that many changes, in transactions of a few each; some roll back, wholly or in part.
    pub(crate) fn transactions(&mut self, changes: u64) -> String {
        let mut sql = String::new();
        let mut made = 0;
        while made < changes {
            sql.push_str("BEGIN;\n");
            let count = 1 + self.below(11);
            for _ in 0..count {
                let change = self.change();
                if self.one_in(20) {
                    let other = self.change();
                    let _ = write!(sql, "SAVEPOINT s;\n{other}ROLLBACK TO s;\n");
                }
                sql.push_str(&change);
            }
            let kept = !self.one_in(10);
            sql.push_str(if kept { "COMMIT;\n" } else { "ROLLBACK;\n" });
            made += if kept { count } else { 0 };
        }
        sql
    }

    fn change(&mut self) -> String {
        let kind = self.below(100);
        match self.part {
            Part::Activities => self.activity(kind),
            Part::People => match kind {
                0..45 => self.employee(),
                45..70 => self.sport(),
                _ => self.commute(),
            },
        }
    }

    fn employee(&mut self) -> String {
        let id = self.below(EMPLOYEES);
        match self.below(100) {
            0..45 => {
                let values = [
                    self.text(),
                    self.text(),
                    self.or_null(|w| w.day()),
                    self.or_null(|w| format!("'BU {}'", w.below(4))),
                    self.or_null(|w| w.day()),
                    self.salary(),
                    self.or_null(|_| "'CDI'".to_owned()),
                    self.or_null(|w| match w.below(20) {
                        0 => "3000000000".to_owned(),
                        _ => w.below(60).to_string(),
                    }),
                    self.or_null(Self::text),
                    self.mode(),
                ];
                let columns = [
                    "nom",
                    "prenom",
                    "date_naissance",
                    "bu",
                    "date_embauche",
                    "salaire_brut",
                    "type_contrat",
                    "jours_cp",
                    "adresse",
                    "moyen_deplacement",
                ];
                upsert("employees", "id", id, &columns, &values)
            }
            45..60 => format!(
                "UPDATE employees SET salaire_brut = {} WHERE id = {id};\n",
                self.salary()
            ),
            60..70 => format!(
                "UPDATE employees SET moyen_deplacement = {} WHERE id = {id};\n",
                self.mode()
            ),
            70..75 => {
                let bound = self.below(EMPLOYEES / 4);
                format!(
                    "UPDATE employees SET salaire_brut = salaire_brut + 0.01 WHERE id < {bound} AND salaire_brut < 1e6;\n"
                )
            }
            75..85 => {
                let to = self.below(EMPLOYEES);
                let free = format!("AND NOT EXISTS (SELECT FROM employees WHERE id = {to})");
                let mut sql = format!(
                    "UPDATE employees SET id = {to}, adresse = adresse || '' WHERE id = {id} {free};\n"
                );
                // They have moved if the old one is gone.
                for child in ["declared_sports", "commute_distances"] {
                    let _ = writeln!(
                        sql,
                        "UPDATE {child} SET employee_id = {to} WHERE employee_id = {id}
                            AND NOT EXISTS (SELECT FROM employees WHERE id = {id});"
                    );
                }
                sql
            }
            _ => format!("DELETE FROM employees WHERE id = {id};\n"),
        }
    }

    fn sport(&mut self) -> String {
        let id = self.below(EMPLOYEES);
        match self.below(200) {
            0..140 => {
                let sport = match self.below(10) {
                    0 => "'  Runing '".to_owned(),
                    1 => "'   '".to_owned(),
                    2 => self.text(),
                    _ => self.one_of(&SPORTS.map(quoted)),
                };
                of_employee("declared_sports", id, &["sport"], &[sport])
            }
            140..199 => format!("DELETE FROM declared_sports WHERE employee_id = {id};\n"),
            _ => truncate("declared_sports"),
        }
    }

    fn commute(&mut self) -> String {
        let id = self.below(EMPLOYEES);
        match self.below(200) {
            0..150 => {
                let values = [
                    self.mode(),
                    self.or_null(Self::distance),
                    self.one_of(&["'google_maps'".to_owned(), "'estimate'".to_owned()]),
                    self.or_null(Self::text),
                    match self.below(30) {
                        0 => "'infinity'".to_owned(),
                        _ => format!(
                            "timestamptz '1995-01-01 00:00:00+05:30' + {} * interval '1 microsecond'",
                            self.below(1_500_000_000_000_000)
                        ),
                    },
                ];
                let columns = [
                    "moyen_deplacement",
                    "distance_m",
                    "source",
                    "flag",
                    "computed_at",
                ];
                of_employee("commute_distances", id, &columns, &values)
            }
            150..170 => format!(
                "UPDATE commute_distances SET distance_m = {} WHERE employee_id = {id};\n",
                self.or_null(Self::distance)
            ),
            170..199 => format!("DELETE FROM commute_distances WHERE employee_id = {id};\n"),
            _ => truncate("commute_distances"),
        }
    }

    fn activity(&mut self, kind: u64) -> String {
        let id = self.below(ACTIVITIES);
        match kind {
            0..58 => {
                let values = [
                    self.below(EMPLOYEES + 5).to_string(),
                    self.moment(),
                    match self.below(60) {
                        0 => "'BACKFILL_COMPLETE'".to_owned(),
                        _ => self.one_of(&SPORTS.map(quoted)),
                    },
                    self.or_null(Self::distance),
                    match self.below(40) {
                        0 => "0".to_owned(),
                        1 => "3000000000".to_owned(),
                        _ => (1 + self.below(20_000)).to_string(),
                    },
                    self.or_null(Self::comment),
                ];
                let columns = [
                    "employee_id",
                    "date_debut",
                    "type_activite",
                    "distance_m",
                    "duree_s",
                    "commentaire",
                ];
                upsert("sport_activities", "id", id, &columns, &values)
            }
            // Large comments stay as they are, and the log does not have them.
            58..70 => format!(
                "UPDATE sport_activities SET duree_s = duree_s + 1 WHERE employee_id = {} AND duree_s < 100000;\n",
                self.below(EMPLOYEES)
            ),
            70..77 => format!(
                "UPDATE sport_activities SET date_debut = {} WHERE id = {id};\n",
                self.moment()
            ),
            77..85 => {
                let to = self.below(ACTIVITIES);
                // The log would not have a large value that stays while its key changes.
                format!(
                    "UPDATE sport_activities SET id = {to}, commentaire = commentaire || '' WHERE id = {id}
                        AND NOT EXISTS (SELECT FROM sport_activities WHERE id = {to});\n"
                )
            }
            85..99 => format!(
                "DELETE FROM sport_activities WHERE id BETWEEN {id} AND {};\n",
                id + self.below(2)
            ),
            _ if self.one_in(100) => truncate("sport_activities"),
            _ => format!("UPDATE sport_activities SET distance_m = NULL WHERE id = {id};\n"),
        }
    }

    /// With two decimals, or at the edges of what the column takes.
    fn salary(&mut self) -> String {
        match self.below(40) {
            0 => "0".to_owned(),
            1 => "9999999999.99".to_owned(),
            2 => "'NaN'".to_owned(),
            3 => "0.10".to_owned(),
            _ => format!("{}.{:02}", self.below(90_000), self.below(100)),
        }
    }

    /// To the millimetre, or what no distance is.
    fn distance(&mut self) -> String {
        match self.below(40) {
            0 => "'NaN'".to_owned(),
            1 => "'Infinity'".to_owned(),
            2 => "1e12".to_owned(),
            3 => "15000".to_owned(),
            4 => "25000".to_owned(),
            _ => format!("{}.{:03}", self.below(30_000), self.below(1000)),
        }
    }

    /// Days away from both ends of the window, so that it does not matter when it is asked.
    fn moment(&mut self) -> String {
        let days = match self.below(10) {
            0 => 370 + self.below(9000),
            1 => return self.odd_moment(),
            2 => {
                return format!(
                    "localtimestamp + {} * interval '1 day'",
                    3 + self.below(300)
                );
            }
            _ => 2 + self.below(360),
        };
        format!(
            "date_trunc('day', localtimestamp) - {days} * interval '1 day' + {} * interval '1 microsecond'",
            self.below(86_400_000_000)
        )
    }

    /// What clocks never show, what they show twice, and what no activity has.
    fn odd_moment(&mut self) -> String {
        self.one_of(
            &[
                "2025-03-30 02:30",
                "2025-10-26 02:15:00.000001",
                "2026-03-29 02:59:59.999999",
                "2024-10-27 02:00",
                "1999-12-31 23:59:59.9",
                "0099-01-01",
                "infinity",
                "-infinity",
            ]
            .map(quoted),
        )
    }

    fn day(&mut self) -> String {
        match self.below(20) {
            0 => "'0044-03-15 BC'".to_owned(),
            1 => "'9999-12-31'".to_owned(),
            _ => format!("date '1950-01-01' + {}", self.below(25_000)),
        }
    }

    fn mode(&mut self) -> String {
        if self.one_in(15) {
            return "NULL".to_owned();
        }
        // One in fifteen is none that the programme knows.
        match self.below(15) {
            0 => MODES[4].to_owned(),
            _ => self.one_of(
                &MODES[..4]
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>(),
            ),
        }
    }

    /// Some are so large that the table keeps them elsewhere.
    fn comment(&mut self) -> String {
        if self.one_in(8) {
            let (salt, parts) = (self.random.next(), 70 + self.below(300));
            return format!(
                "(SELECT string_agg(md5(part || '{salt}'), 'é') FROM generate_series(1, {parts}) part)"
            );
        }
        self.text()
    }

    fn text(&mut self) -> String {
        let at = usize::try_from(self.below(TEXTS.len() as u64)).unwrap_or_default();
        quoted(TEXTS[at])
    }

    fn or_null(&mut self, value: impl FnOnce(&mut Self) -> String) -> String {
        match self.one_in(8) {
            true => "NULL".to_owned(),
            false => value(self),
        }
    }

    fn one_of(&mut self, values: &[String]) -> String {
        let at = usize::try_from(self.below(values.len() as u64)).unwrap_or_default();
        values[at].clone()
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.next() % bound
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Which PostgreSQL refuses while references wait for the commit.
fn truncate(table: &str) -> String {
    format!("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED; TRUNCATE {table};\n")
}

fn upsert(table: &str, key: &str, id: u64, columns: &[&str], values: &[String]) -> String {
    let sets: Vec<String> = columns
        .iter()
        .map(|column| format!("{column} = excluded.{column}"))
        .collect();
    format!(
        "INSERT INTO {table} ({key}, {}) VALUES ({id}, {}) ON CONFLICT ({key}) DO UPDATE SET {};\n",
        columns.join(", "),
        values.join(", "),
        sets.join(", ")
    )
}

/// A row that only somebody who is there has.
fn of_employee(table: &str, id: u64, columns: &[&str], values: &[String]) -> String {
    let sets: Vec<String> = columns
        .iter()
        .map(|column| format!("{column} = excluded.{column}"))
        .collect();
    format!(
        "INSERT INTO {table} (employee_id, {}) SELECT id, {} FROM employees WHERE id = {id}
            ON CONFLICT (employee_id) DO UPDATE SET {};\n",
        columns.join(", "),
        values.join(", "),
        sets.join(", ")
    )
}
