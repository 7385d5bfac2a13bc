use super::*;

fn activity(id: i64, sport: &str) -> Activity {
    Activity {
        id,
        employee_id: 1,
        date_debut: None,
        sport: sport.to_owned(),
        distance_m: Some(10_840.0),
        duree_s: Some(2760.0),
        comment: None,
    }
}

/// All that is said of that activity, whatever its id.
fn tellings(activity: &Activity, name: Option<&str>) -> std::collections::BTreeSet<String> {
    (0..500)
        .map(|id| {
            let activity = Activity {
                id,
                ..activity.clone()
            };
            tell(&activity, name)
        })
        .collect()
}

#[test]
fn a_run_is_told_as_the_company_would() {
    let tellings = tellings(&activity(0, "Running"), Some("Juliette"));
    let expected = "Bravo Juliette ! Tu viens de courir 10,8 km en 46 min ! Quelle énergie ! 🔥🏅";
    assert!(tellings.contains(expected), "{tellings:#?}");
    assert!(tellings.len() > 50, "{} texts", tellings.len());
    for text in &tellings {
        assert!(
            text.contains("Juliette") && text.contains("10,8 km") && text.contains("en 46 min"),
            "{text}"
        );
    }
}

#[test]
fn a_repeat_is_the_same_text() {
    for id in [0, 1, -7, i64::MAX] {
        let one = tell(&activity(id, "Vélo"), Some("Paul"));
        assert_eq!(one, tell(&activity(id, "Vélo"), Some("Paul")));
    }
}

#[test]
fn a_comment_is_quoted_and_means_nothing_to_slack() {
    let mut hike = activity(3, "Randonnée");
    hike.comment =
        Some("Randonnée de St Guilhem,\n<!channel> je vous la conseille & c'est top".to_owned());
    let text = tell(&hike, Some("Laurence <b>"));
    assert!(
        text.ends_with(
            " (« Randonnée de St Guilhem, &lt;!channel&gt; je vous la conseille &amp; c'est top »)"
        ),
        "{text}"
    );
    assert!(text.contains("Laurence &lt;b&gt; !"), "{text}");
}

#[test]
fn somebody_unknown_is_told_fairly() {
    for text in tellings(&activity(0, "Natation"), None) {
        assert!(text.contains("n membre de l'équipe"), "{text}");
        assert!(!text.contains("Tu viens"), "{text}");
    }
    for name in ["", "  \n", "\u{200b}"] {
        assert!(tell(&activity(1, "Boxe"), Some(name)).contains("n membre de l'équipe"));
    }
}

#[test]
fn every_sport_reads_as_french() {
    let sports = [
        "Running",
        "Runing",
        "Vélo",
        "Natation",
        "Randonnée",
        "Marche",
        "Triathlon",
        "Tennis",
        "Badminton",
        "Tennis de table",
        "Football",
        "Rugby",
        "Basketball",
        "Escalade",
        "Judo",
        "Boxe",
        "Équitation",
        "Voile",
        "Gymnastique",
        "Autre",
        "Pétanque",
    ];
    for sport in sports {
        for (metres, seconds) in [
            (Some(10_840.0), Some(2760.0)),
            (None, Some(5400.0)),
            (Some(900.0), None),
            (None, None),
        ] {
            let mut one = activity(0, sport);
            (one.distance_m, one.duree_s) = (metres, seconds);
            for text in tellings(&one, Some("Élodie")) {
                for wrong in [
                    "{}", "  ", " de a", " de e", " de é", " de i", " de o", "null", ".8",
                    " de de ",
                ] {
                    assert!(!text.contains(wrong), "\"{wrong}\" in {text}");
                }
                assert_eq!(text.contains("1 h 30"), seconds == Some(5400.0), "{text}");
            }
        }
    }
    let climbing: Vec<_> = tellings(&activity(0, "Escalade"), Some("Zoé"))
        .into_iter()
        .collect();
    assert!(
        climbing
            .iter()
            .any(|text| text.contains("Tu viens d'escalader")),
        "{climbing:?}"
    );
    let other = tellings(&activity(0, "Pétanque"), Some("Zoé"));
    assert!(
        other
            .iter()
            .all(|text| text.contains("séance de sport (Pétanque)")),
        "{other:?}"
    );
}

#[test]
fn a_digest_counts_what_it_does_not_name() {
    let many: Vec<Activity> = (1..=12).map(|id| activity(id, "Running")).collect();
    let named = |count: usize| {
        digest(
            many.iter()
                .take(count)
                .map(|a| (a, Some(format!("N{}", a.id)))),
        )
    };
    let all = named(12);
    assert_eq!(all.ids, (1..=12).collect::<Vec<_>>());
    assert!(
        all.text
            .contains("12 activités viennent de s'achever : N1 (course à pied, 10,8 km), N2"),
        "{}",
        all.text
    );
    assert!(
        all.text.ends_with(" et 4 autres. En tout : 130,1 km."),
        "{}",
        all.text
    );
    assert!(named(9).text.contains(" et 1 autre."), "{}", named(9).text);
    assert!(
        named(3)
            .text
            .contains("N2 (course à pied, 10,8 km) et N3 (course à pied, 10,8 km)."),
        "{}",
        named(3).text
    );
    let unknown = digest(many[..1].iter().map(|a| (a, None)));
    assert!(
        unknown
            .text
            .contains("1 activité vient de s'achever : un membre de l'équipe ("),
        "{}",
        unknown.text
    );
}

#[test]
fn what_is_finished_is_so_in_its_time() {
    let mut done = activity(0, "Pétanque");
    done.distance_m = None;
    for text in tellings(&done, Some("Zoé")) {
        assert!(text.contains(" en 46 min !"), "{text}");
    }
    done.sport = "Triathlon".to_owned();
    for text in tellings(&done, Some("Zoé")) {
        let lasts = text.contains("enchaîner natation");
        let expected = if lasts {
            " pendant 46 min !"
        } else {
            " en 46 min !"
        };
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_sport_without_a_distance_tells_none() {
    for sport in ["Tennis", "Escalade", "Judo", "Football"] {
        let played = activity(0, sport);
        for text in tellings(&played, Some("Zoé")) {
            assert!(!text.contains("10,8 km"), "{text}");
        }
        let many = [played.clone(), played.clone(), played];
        let text = digest(many.iter().map(|a| (a, None))).text;
        assert!(!text.contains("km") && text.contains("46 min"), "{text}");
    }
}

#[test]
fn what_cannot_be_is_not_told() {
    for (metres, seconds) in [(-10_840.0, -1.0), (1e8, 1e7), (f64::NAN, f64::INFINITY)] {
        let mut run = activity(0, "Running");
        (run.distance_m, run.duree_s) = (Some(metres), Some(seconds));
        let mut texts = tellings(&run, Some("Zoé"));
        texts.insert(digest([&run, &run, &run].into_iter().map(|a| (a, None))).text);
        for text in texts {
            let said = text.replace("3 activités", "");
            assert!(!said.contains(|c: char| c.is_ascii_digit()), "{text}");
        }
    }
}

/// Slack cuts texts off at 40,000 characters, and advises 4,000.
#[test]
fn the_longest_texts_are_taken_whole() {
    let long = "&<é>".repeat(20_000);
    let mut hostile = activity(0, &long);
    hostile.comment = Some(long.clone());
    for id in 0..20 {
        hostile.id = id;
        let text = tell(&hostile, Some(&long));
        assert!(
            text.chars().count() < 4000,
            "{} letters",
            text.chars().count()
        );
        assert!(text.ends_with("… »)"), "{text}");
    }
    let many = vec![hostile; 1000];
    let text = digest(many.iter().map(|a| (a, Some(long.clone())))).text;
    assert!(
        text.chars().count() < 8000,
        "{} letters",
        text.chars().count()
    );
}
