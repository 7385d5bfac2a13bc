use changes::ErrorKind;

use super::*;
use crate::hr::Cents;

fn employee(id: i64) -> Employee {
    Employee {
        id,
        nom: "Martin".to_owned(),
        prenom: "Zoé".to_owned(),
        date_naissance: chrono::NaiveDate::from_ymd_opt(1989, 7, 14),
        bu: Some("R&D".to_owned()),
        date_embauche: None,
        salaire_brut: Cents(3_094_000),
        type_contrat: Some("CDI".to_owned()),
        jours_cp: Some(25),
        adresse: Some("1 rue Haute, 34000 Montpellier".to_owned()),
        moyen_deplacement: Some("Marche/running".to_owned()),
    }
}

fn workbook(ids: &[i64]) -> Workbook {
    Workbook {
        employees: ids.iter().map(|id| employee(*id)).collect(),
        sports: Some(ids.iter().map(|id| (*id, "Tennis".to_owned())).collect()),
    }
}

fn at(minute: u32) -> DateTime<Utc> {
    use chrono::TimeZone;
    Utc.with_ymd_and_hms(2026, 11, 24, 12, minute, 0)
        .single()
        .expect("a time")
}

/// The topics' state after the plan was published.
fn after(known: &Known, plan: Plan) -> Known {
    let copy = |rows: &Rows| {
        let mut copy = Rows::default();
        copy.rows.clone_from(&rows.rows);
        copy
    };
    let mut next = Known {
        employees: copy(&known.employees),
        declared_sports: copy(&known.declared_sports),
        commute_distances: copy(&known.commute_distances),
    };
    let tables = [
        &mut next.employees,
        &mut next.declared_sports,
        &mut next.commute_distances,
    ];
    for (table, changes) in tables.into_iter().zip(plan.changes) {
        for change in changes {
            match change.after {
                Some(row) => table.rows.insert(change.key, row),
                None => table.rows.remove(&change.key),
            };
        }
    }
    next
}

#[test]
fn the_first_import_creates_everything() {
    let plan = plan(&Known::default(), &workbook(&[11, 12]), at(0));
    assert_eq!(plan.report.employees.created, 2);
    assert_eq!(plan.report.declared_sports.created, 2);
    assert_eq!(plan.report.commute_distances.created, 2);
    let row = plan.changes[0][0].after.as_ref().expect("created");
    assert_eq!(row["salaire_brut"], "30940.00");
    assert_eq!(row["date_naissance"], 7134);
    assert_eq!(row["date_embauche"], Value::Null);
    let commute = plan.changes[2][0].after.as_ref().expect("created");
    assert_eq!(commute["source"], "estimate");
    assert_eq!(commute["computed_at"], "2026-11-24T12:00:00.000000Z");
    assert!(commute["distance_m"].is_f64());
}

#[test]
fn the_same_workbook_again_changes_nothing() {
    let first = plan(&Known::default(), &workbook(&[11, 12]), at(0));
    let known = after(&Known::default(), first);
    let again = plan(&known, &workbook(&[11, 12]), at(9));
    assert_eq!(again.report.changes(), 0);
    assert_eq!(again.report.employees.unchanged, 2);
}

#[test]
fn a_change_carries_the_row_before_and_after() {
    let known = after(
        &Known::default(),
        plan(&Known::default(), &workbook(&[11, 12]), at(0)),
    );
    let mut changed = workbook(&[11, 12]);
    changed.employees[0].salaire_brut = Cents(3_200_000);
    let plan = plan(&known, &changed, at(1));
    assert_eq!(plan.report.changes(), 1);
    let change = &plan.changes[0][0];
    assert_eq!(change.op(), Op::Update);
    assert_eq!(
        change.before.as_ref().expect("before")["salaire_brut"],
        "30940.00"
    );
    assert_eq!(
        change.after.as_ref().expect("after")["salaire_brut"],
        "32000.00"
    );
}

#[test]
fn moving_house_estimates_anew() {
    let known = after(
        &Known::default(),
        plan(&Known::default(), &workbook(&[11]), at(0)),
    );
    let mut moved = workbook(&[11]);
    moved.employees[0].adresse = Some("3 place du Forum, 30000 Nîmes".to_owned());
    let plan = plan(&known, &moved, at(5));
    let commute = plan.changes[2][0].after.as_ref().expect("estimated");
    assert_eq!(commute["computed_at"], "2026-11-24T12:05:00.000000Z");
    assert!(commute["distance_m"].as_f64() > Some(50_000.0));
}

#[test]
fn a_measured_distance_outlives_the_estimate_until_somebody_moves() {
    let mut known = after(
        &Known::default(),
        plan(&Known::default(), &workbook(&[11]), at(0)),
    );
    let measured = known.commute_distances.rows.get_mut(&11).expect("known");
    measured.insert("source".to_owned(), json!("measured"));
    measured.insert("distance_m".to_owned(), json!(1234.0));
    assert_eq!(plan(&known, &workbook(&[11]), at(1)).report.changes(), 0);
    let mut moved = workbook(&[11]);
    moved.employees[0].adresse = Some("Bruxelles".to_owned());
    let plan = plan(&known, &moved, at(1));
    assert_eq!(plan.report.flagged, [(11, Flag::UnknownCommune)]);
    assert_eq!(plan.report.commute_distances.updated, 1);
}

#[test]
fn leavers_are_deleted_from_all_tables() {
    let known = after(
        &Known::default(),
        plan(&Known::default(), &workbook(&[11, 12]), at(0)),
    );
    let plan = plan(&known, &workbook(&[12]), at(1));
    assert_eq!(plan.report.deleted_employees, [11]);
    assert_eq!(plan.report.declared_sports.deleted, 1);
    assert_eq!(plan.report.commute_distances.deleted, 1);
    assert!(
        plan.changes
            .iter()
            .all(|changes| changes[0].op() == Op::Delete)
    );
    assert!(
        plan.changes
            .iter()
            .all(|changes| changes[0].before.is_some())
    );
}

#[test]
fn without_a_sports_workbook_sports_stay_as_they_are() {
    let known = after(
        &Known::default(),
        plan(&Known::default(), &workbook(&[11, 12]), at(0)),
    );
    let mut employees_only = workbook(&[11]);
    employees_only.sports = None;
    let plan = plan(&known, &employees_only, at(1));
    let expected = TableChanges {
        deleted: 1,
        unchanged: 1,
        ..TableChanges::default()
    };
    assert_eq!(plan.report.declared_sports, expected);
}

#[test]
fn a_sport_that_is_no_longer_declared_is_deleted() {
    let known = after(
        &Known::default(),
        plan(&Known::default(), &workbook(&[11, 12]), at(0)),
    );
    let mut stopped = workbook(&[11, 12]);
    stopped.sports = Some(BTreeMap::from([
        (11, "Tennis".to_owned()),
        (99, "Judo".to_owned()),
    ]));
    let plan = plan(&known, &stopped, at(1));
    assert_eq!(plan.report.declared_sports.deleted, 1);
    assert_eq!(plan.report.sports_without_employee, 1);
}

#[test]
fn mass_deletions_need_a_yes() {
    let rows = |count: i64| {
        let mut rows = Rows::default();
        rows.rows = (0..count).map(|id| (id, Row::new())).collect();
        rows
    };
    let known = |employees, sports| Known {
        employees: rows(employees),
        declared_sports: rows(sports),
        ..Known::default()
    };
    let report = |employees, sports| ImportReport {
        deleted_employees: (0..employees).collect(),
        deleted_sports: (0..sports).collect(),
        ..ImportReport::default()
    };
    refuse_mass_deletion(&report(16, 9), &known(161, 95)).expect("few");
    refuse_mass_deletion(&report(0, 0), &known(0, 0)).expect("none");
    for (report, what) in [
        (report(17, 0), "17 of 161 known employees"),
        (report(0, 10), "10 of 95 declared sports"),
    ] {
        let error = refuse_mass_deletion(&report, &known(161, 95)).expect_err("more than 10 %");
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.hint_text().is_some_and(|hint| hint.contains("--yes")));
    }
}

#[test]
fn a_sport_that_goes_with_its_employee_is_no_lost_sport() {
    let first = plan(&Known::default(), &workbook(&[1, 2, 3]), at(0));
    let known = after(&Known::default(), first);
    let mut fewer = workbook(&[1]);
    fewer.sports = Some(BTreeMap::new());
    let report = plan(&known, &fewer, at(1)).report;
    assert_eq!(
        (report.deleted_employees, report.deleted_sports),
        (vec![2, 3], vec![1])
    );
}
