use super::*;

const HOME: &str = "12 rue de la Loge, 34000 Montpellier";
const WALK: &str = "Marche/running";

fn employees(address: &str, mode: &str) -> Rows {
    let mut employees = Rows::default();
    let event =
        json!({"op": "c", "after": {"id": 1, "adresse": address, "moyen_deplacement": mode}});
    let (key, value) = (br#"{"id":1}"#, event.to_string());
    employees
        .apply("id", Some(key), Some(value.as_bytes()))
        .expect("within the limits");
    employees
}

struct Desk {
    folder: tempfile::TempDir,
    published: BTreeMap<i64, Row>,
}

impl Desk {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            published: BTreeMap::new(),
        }
    }

    fn cache(&self) -> Cache {
        Cache::open(&self.folder.path().join("commute.cache"))
    }

    fn answers(&self, provider: ProviderName, metres: Option<f64>, flag: Option<Flag>) {
        let mut cache = self.cache();
        let key = Cache::key(provider.as_str(), HOME, Profile::Walking);
        let away_m = Some(0.0);
        cache.insert(
            key,
            Said {
                metres,
                away_m,
                flag,
            },
        );
        cache.save().expect("saved");
    }

    /// What is published when no provider answers now: source and metres.
    async fn publish(&mut self, provider: ProviderName, address: &str, mode: &str) -> String {
        let config = CommuteConfig {
            provider,
            ..CommuteConfig::default()
        };
        let options = MeasureOptions::default();
        let employees = employees(address, mode);
        let mut survey = Survey::new(&config, options, self.cache(), &employees, &self.published);
        survey.ask(None, 0, |_| ()).await.expect("nobody is asked");
        self.published = survey.rows(&self.published, DateTime::UNIX_EPOCH);
        let row = &self.published[&1];
        match row["source"].as_str() {
            Some(SOURCE) => "estimate".to_owned(),
            source => format!("{} {}", source.unwrap_or("?"), row["distance_m"]),
        }
    }
}

#[tokio::test]
async fn what_was_measured_stays_when_nobody_answers_or_is_asked() {
    let mut desk = Desk::new();
    desk.answers(ProviderName::Google, Some(6400.0), None);
    for provider in [
        ProviderName::Google,
        ProviderName::OpenRouteService,
        ProviderName::Estimate,
    ] {
        let published = desk.publish(provider, HOME, WALK).await;
        assert_eq!(published, "google 6400.0", "{provider:?}");
    }
}

#[tokio::test]
async fn who_moves_or_travels_otherwise_is_measured_anew() {
    let mut desk = Desk::new();
    desk.answers(ProviderName::Google, Some(6400.0), None);
    for (address, mode) in [
        ("8 chemin du Mas, 34970 Lattes", WALK),
        (HOME, "Vélo/Trottinette/Autres"),
        (HOME, "véhicule thermique/électrique"),
    ] {
        assert_eq!(
            desk.publish(ProviderName::Google, HOME, WALK).await,
            "google 6400.0"
        );
        for provider in [ProviderName::OpenRouteService, ProviderName::Estimate] {
            let published = desk.publish(provider, address, mode).await;
            assert_eq!(published, "estimate", "{address}, {mode}");
        }
    }
}

#[tokio::test]
async fn what_is_not_believed_is_no_measurement() {
    let mut desk = Desk::new();
    desk.answers(ProviderName::Google, Some(0.0), None);
    assert_eq!(
        desk.publish(ProviderName::Estimate, HOME, WALK).await,
        "estimate"
    );
    desk.answers(ProviderName::Google, None, Some(Flag::AddressNotFound));
    assert_eq!(
        desk.publish(ProviderName::Estimate, HOME, WALK).await,
        "estimate"
    );
}

#[tokio::test]
async fn a_lost_cache_loses_no_measurement_and_hides_no_move() {
    let mut desk = Desk::new();
    desk.answers(ProviderName::Google, Some(6400.0), None);
    desk.publish(ProviderName::Google, HOME, WALK).await;
    for damage in [None, Some("damaged")] {
        let path = desk.folder.path().join("commute.cache");
        match damage {
            None => std::fs::remove_file(&path).expect("removed"),
            Some(text) => std::fs::write(&path, text).expect("written"),
        }
        for provider in [ProviderName::Google, ProviderName::Estimate] {
            let published = desk.publish(provider, HOME, WALK).await;
            assert_eq!(published, "google 6400.0", "{provider:?}");
        }
    }
    let moved = "3 avenue de Lodève, 34000 Montpellier";
    assert_eq!(
        desk.publish(ProviderName::Estimate, moved, WALK).await,
        "estimate"
    );
}

#[tokio::test]
async fn a_provider_is_asked_again_about_what_a_lost_cache_knew() {
    let mut desk = Desk::new();
    desk.answers(ProviderName::Google, Some(6400.0), None);
    desk.publish(ProviderName::Google, HOME, WALK).await;
    std::fs::remove_file(desk.folder.path().join("commute.cache")).expect("removed");
    let config = CommuteConfig {
        provider: ProviderName::Google,
        ..CommuteConfig::default()
    };
    let (options, employees) = (MeasureOptions::default(), employees(HOME, WALK));
    let survey = Survey::new(&config, options, desk.cache(), &employees, &desk.published);
    assert_eq!(survey.report.asked, 1);
}
