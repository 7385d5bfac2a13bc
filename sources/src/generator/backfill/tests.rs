use std::collections::{BTreeMap, HashSet};

use chrono::TimeZone;

use super::*;
use crate::hr::Workbook;

fn roster(seed: u64) -> Roster {
    let sample = Workbook::sample().expect("the sample");
    let sports = sample.sports.expect("with sports");
    let employees = sample
        .employees
        .iter()
        .map(|e| (e.id, sports.get(&e.id).cloned()));
    Roster::new(employees, seed)
}

fn stamp(seed: u64) -> Stamp {
    Stamp {
        seed,
        days: 365,
        until: Utc
            .with_ymd_and_hms(2026, 11, 24, 17, 0, 0)
            .single()
            .expect("a time"),
        first_id: 1,
        roster: 0,
        after: None,
        updates: usual_updates(),
        deletes: usual_deletes(),
    }
}

fn current(steps: &[Step]) -> BTreeMap<i64, Activity> {
    let mut current = BTreeMap::new();
    for step in steps {
        let id = step
            .after
            .as_ref()
            .or(step.before.as_ref())
            .expect("a row")
            .id;
        assert_eq!(
            current.get(&id),
            step.before.as_ref(),
            "a change follows its row"
        );
        match &step.after {
            Some(after) => current.insert(id, after.clone()),
            None => current.remove(&id),
        };
    }
    current
}

#[test]
fn one_seed_gives_one_year() {
    let one = steps(&stamp(42), &roster(42));
    assert_eq!(one, steps(&stamp(42), &roster(42)));
    assert_ne!(one, steps(&stamp(43), &roster(43)));
}

#[test]
fn the_size_of_the_year_is_plausible() {
    for seed in [1, 42, 2026] {
        let steps = steps(&stamp(seed), &roster(seed));
        assert!((9_000..20_000).contains(&steps.len()), "{}", steps.len());
        let mut counts: BTreeMap<i64, u32> = BTreeMap::new();
        for activity in current(&steps).values() {
            *counts.entry(activity.employee_id).or_default() += 1;
        }
        let few = 161 - counts.values().filter(|count| **count >= 15).count();
        assert!((24..=48).contains(&few), "{few} of 161 have fewer than 15");
        let changed = steps.iter().filter(|step| step.before.is_some()).count();
        assert!(
            changed * 100 > steps.len() * 2,
            "{changed} of {}",
            steps.len()
        );
    }
}

#[test]
fn steps_are_in_order_and_none_comes_twice() {
    let steps = steps(&stamp(42), &roster(42));
    assert!(steps.is_sorted_by_key(|step| step.at));
    let creates = steps.iter().filter(|step| step.before.is_none());
    let ids: Vec<i64> = creates
        .filter_map(|s| s.after.as_ref())
        .map(|a| a.id)
        .collect();
    assert!(
        ids.iter()
            .copied()
            .eq(1..=i64::try_from(ids.len()).expect("small"))
    );
    let kinds = steps.iter().map(|step| {
        let row = step.after.as_ref().or(step.before.as_ref());
        (
            row.map(|row| row.id),
            step.before.is_some(),
            step.after.is_some(),
        )
    });
    assert_eq!(kinds.collect::<HashSet<_>>().len(), steps.len());
}

#[test]
fn every_activity_fits_its_sport_and_its_time() {
    let stamp = stamp(42);
    let sample = Workbook::sample().expect("the sample");
    let declared = sample.sports.expect("with sports");
    let until = local(stamp.until);
    for activity in current(&steps(&stamp, &roster(42))).values() {
        let sport = declared.get(&activity.employee_id).map(String::as_str);
        let expected: &[&str] = match sport {
            None => &["Marche", "Randonnée"],
            Some("Runing" | "Running") => &["Running"],
            Some("Triathlon") => &["Running", "Vélo", "Natation"],
            Some(sport) => &[sport],
        };
        assert!(
            expected.contains(&activity.type_activite.as_ref()),
            "{activity:?}"
        );
        assert!(activity.date_debut < until);
        assert!(activity.date_debut > until - Duration::days(367));
        assert!((7..=20).contains(&activity.date_debut.hour()));
        assert!((25 * 60..=320 * 60).contains(&activity.duree_s));
        if let Some(distance) = activity.distance_m {
            let duration = Duration::seconds(activity.duree_s).as_seconds_f64();
            let speed = distance / duration;
            let plausible = match activity.type_activite.as_ref() {
                "Running" => 2.0..3.8,
                "Vélo" => 4.4..8.4,
                "Natation" => 0.49..1.16,
                "Randonnée" => 0.88..1.47,
                "Marche" => 1.0..1.68,
                other => panic!("{other} has no distance"),
            };
            assert!(plausible.contains(&speed), "{activity:?}");
        }
    }
}

#[test]
fn comments_are_often_missing_and_seasons_show() {
    let steps = steps(&stamp(42), &roster(42));
    let activities = current(&steps);
    let commented = activities
        .values()
        .filter(|a| a.commentaire.is_some())
        .count();
    let share = commented * 100 / activities.len();
    assert!((15..50).contains(&share), "{share} %");
    let hikes = |months: &[u32]| {
        let hikes = activities
            .values()
            .filter(|a| a.type_activite == "Randonnée");
        hikes
            .filter(|a| months.contains(&a.date_debut.month()))
            .count()
    };
    assert!(hikes(&[5, 6, 7]) > hikes(&[12, 1, 2]));
}

#[test]
fn a_load_that_goes_on_after_a_time_plays_only_what_started_later() {
    let after = stamp(42).until - Duration::days(30);
    let later = Stamp {
        first_id: 5000,
        after: Some(local(after).and_utc().timestamp_micros()),
        ..stamp(42)
    };
    let steps = steps(&later, &roster(42));
    assert!(!steps.is_empty());
    for activity in steps.iter().filter_map(|step| step.after.as_ref()) {
        assert!(activity.date_debut > local(after));
        assert!(activity.id >= 5000);
    }
}
