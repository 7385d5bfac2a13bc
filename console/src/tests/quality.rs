use engine::Role;
use tokio_util::sync::CancellationToken;

use super::{Running, lake};

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_rows_kept_aside_are_shown_to_those_who_may_see_them() {
    let running = Running::with_users().await;
    let mut rose = running.signed_in("rose").await;
    let page = rose.page("/quality").await;
    page.has("salaire_positif")
        .has("silver.employees__quarantine")
        .has("Aside")
        .has("kept_out")
        .has("Aucun message n'est rejeté.")
        .lacks("/quality/quarantine");
    let token = page.token();
    for path in ["/quality/quarantine", "/quality/letters"] {
        let values = [("token", token.as_str()), ("table", "silver.employees")];
        let refused = rose.post(path, &values).await;
        assert_eq!(refused.status, 403, "{path}: {}", refused.body);
        refused.has("GRANT REPLAY");
    }
    let mut max = running.signed_in("max").await;
    let page = max.page("/quality").await;
    page.lacks("Aside")
        .lacks("salaire_positif")
        .has("Votre rôle ne voit rien ici.");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_granted_it_hands_a_replay_to_the_running_role() {
    let running = Running::with_users().await;
    let policies = running.folder.path().join("sql/policies.sql");
    let text = std::fs::read_to_string(&policies).expect("a text");
    std::fs::write(&policies, format!("{text}\nGRANT REPLAY TO rh;\n")).expect("written");
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    let mut rose = running.signed_in("rose").await;
    let token = rose
        .page("/quality")
        .await
        .has("/quality/quarantine")
        .token();
    let values = [("token", token.as_str()), ("table", "silver.employees")];
    let nobody = rose.post("/quality/quarantine", &values).await;
    assert_eq!(nobody.status, 503);
    nobody.has("nobody runs the refresh role");

    let refresher = lake::refresher(running.folder.path(), &running.lake).await;
    let stop = CancellationToken::new();
    let role = tokio::spawn(refresher.run(Default::default(), stop.clone()));
    let done = rose.post("/quality/quarantine", &values).await;
    assert_eq!(
        (done.status, done.header("location")),
        (303, Some("/quality?done=quarantine"))
    );
    rose.page("/quality?done=quarantine")
        .await
        .has("ont été refaites");
    for (table, status) in [
        ("silver.declared_sports", 404),
        ("gold.nothing", 404),
        ("';--", 400),
    ] {
        let values = [("token", token.as_str()), ("table", table)];
        assert_eq!(
            rose.post("/quality/quarantine", &values).await.status,
            status,
            "{table}"
        );
    }
    stop.cancel();
    role.await.expect("joined").expect("ended");
    assert!(
        engine::Lease::try_acquire(&running.lake, Role::Refresh)
            .expect("a look")
            .is_some()
    );
    running.stop().await;
}
