use super::{Running, lake};
use crate::HttpConfig;

/// Twelve people, nine of whom get 5 % of what they earn.
const TOTAL: &str = "16\u{202f}451,95\u{a0}€";

#[tokio::test(flavor = "multi_thread")]
async fn the_page_has_the_figures_of_the_project_in_both_languages() {
    let running = Running::anonymous().await;
    let mut browser = running.browser();
    let french = browser.page("/").await;
    french
        .has("<html lang=\"fr\">")
        .has("Avantages")
        .has(TOTAL)
        .has("R&amp;D &lt;Sud&gt;")
        .has("Classement")
        .has("Prénom1")
        .has("Domicile trop éloigné")
        .has("mai 2026")
        .lacks("Aside");
    let english = browser.page("/?lang=en").await;
    english
        .has("<html lang=\"en\">")
        .has("Benefits")
        .has("€16,451.95");
    // The choice is kept.
    browser.page("/").await.has("<html lang=\"en\">");
    let mut other = running.browser().with("Accept-Language", "en-GB,en;q=0.9");
    other.page("/").await.has("<html lang=\"en\">");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_values_and_never_sql() {
    let running = Running::anonymous().await;
    let mut browser = running.browser();
    let unit = browser.page("/?bu=Ventes").await;
    unit.has("Prénom2").lacks("Prénom9").lacks(TOTAL);
    unit.has("Ces chiffres sont ceux de toutes les BU.");
    let odd = browser.page("/?bu=R%26D+%3CSud%3E").await;
    odd.has("Prénom9").lacks("Prénom2");
    let sport = browser
        .page("/?sport=Running&from=2026-06&to=2026-06")
        .await;
    sport
        .has("juin\u{a0}26")
        .lacks("mai\u{a0}26")
        .lacks("<th scope=\"row\">Vélo</th>");
    for hostile in [
        "/?bu=%27+OR+1%3D1+--",
        "/?sport=x%27%29+UNION+SELECT+salaire_brut+FROM+silver.employees--",
        "/?bu=%00%F0%9F%92%A3",
    ] {
        let shown = browser.page(hostile).await;
        shown.has("Aucun").lacks("33112").lacks("33\u{202f}112");
    }
    for wrong in [
        "/?from=2026-02&to=2026-01".to_owned(),
        "/?from=demain".to_owned(),
        "/?page=-1".to_owned(),
        format!("/?bu={}", "x".repeat(300)),
        format!("/?{}", "a=1&".repeat(40)),
        format!("/?bu={}", "x".repeat(20_000)),
    ] {
        let shown = browser.get(&wrong).await;
        assert_eq!(shown.status, 400, "{wrong}");
        shown.has("Demande refusée");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_explain_themselves() {
    let running = Running::anonymous().await;
    let mut browser = running.browser();
    let moved = browser.get("/why?id=2").await;
    assert_eq!(
        (moved.status, moved.header("location")),
        (303, Some("/why/2"))
    );
    let why = browser.page("/why/2").await;
    why.has("Pourquoi, salarié 2")
        .has("montant_prime_euros")
        .has("salaire_brut")
        .has("silver.sport_activities")
        .has("un_par_salarie")
        .has("Messages");
    assert_eq!(browser.get("/why/4711").await.status, 404);
    for wrong in [
        "/why/x",
        "/why/2%27",
        "/why?id=",
        "/why/99999999999999999999",
    ] {
        assert_eq!(browser.get(wrong).await.status, 400, "{wrong}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_about_something_else_begins_with_its_pipeline() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = lake::other(folder.path()).await;
    let running = Running::on(folder, lake, HttpConfig::default()).await;
    let shown = running.browser().get("/").await;
    assert_eq!(
        (shown.status, shown.header("location")),
        (303, Some("/pipeline"))
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_sees_neither_salaries_nor_amounts_of_persons() {
    let running = Running::with_users().await;
    let mut max = running.signed_in("max").await;
    let page = max.page("/").await;
    page.has("Prénom2")
        .lacks("Prénom9")
        .lacks("R&amp;D")
        .has("Votre rôle ne voit pas ces chiffres.")
        .has("Montant");
    // What number 2 earns, and 5 % of it.
    for secret in ["33112", "33\u{202f}112", "1655", "1\u{202f}655"] {
        page.lacks(secret);
    }
    let why = max.page("/why/2").await;
    why.has("ne voit pas tout")
        .has("Nom2")
        .lacks("salaire_brut")
        .lacks("rue du Lac");
    for secret in ["33112", "33\u{202f}112", "1655", "1\u{202f}655"] {
        why.lacks(secret);
    }
    // Somebody of another unit looks like nobody.
    let other = max.get("/why/9").await;
    let nobody = max.get("/why/4711").await;
    assert_eq!((other.status, nobody.status), (404, 404));
    assert_eq!(
        other.body.replace("employee 9", ""),
        nobody
            .body
            .replace("employee 4711", "")
            .replace("/why/4711", "/why/9")
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_employee_sees_one_row_and_somebody_without_a_role_none() {
    let running = Running::with_users().await;
    let mut sam = running.signed_in("sam").await;
    let page = sam.page("/").await;
    page.has("Prénom2").has("1\u{202f}655,60\u{a0}€");
    for number in [1, 3, 9, 10, 11] {
        page.lacks(&format!("Prénom{number}<"));
    }
    sam.page("/why/2").await.has("33\u{202f}112,00");
    assert_eq!(sam.get("/why/3").await.status, 404);

    let mut nina = running.signed_in("nina").await;
    let page = nina.page("/").await;
    page.has("Votre rôle ne voit pas ces chiffres.")
        .lacks("Nom")
        .lacks("€");
    assert_eq!(nina.get("/why/2").await.status, 404);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hr_sees_all_of_it() {
    let running = Running::with_users().await;
    let mut rose = running.signed_in("rose").await;
    rose.page("/")
        .await
        .has(TOTAL)
        .has("Prénom9")
        .lacks("Votre rôle");
    let why = rose.page("/why/9").await;
    why.lacks("ne voit pas tout")
        .has("rue du Lac")
        .has("40\u{202f}119,00");
    running.stop().await;
}
