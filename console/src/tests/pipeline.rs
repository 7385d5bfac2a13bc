use super::{Running, lake};
use crate::HttpConfig;

#[tokio::test(flavor = "multi_thread")]
async fn the_graph_and_the_tables_say_how_the_lake_stands() {
    let running = Running::anonymous().await;
    let mut browser = running.browser();
    let page = browser.page("/pipeline").await;
    for table in [
        "bronze.employees",
        "silver.employees",
        "gold.eligibilites",
        "parameters",
    ] {
        page.has(&format!("href=\"/pipeline/{table}\""));
    }
    page.has("<path class=\"edge\"")
        .has("fraîche")
        .has("12 lignes")
        .has("à jour");
    let table = browser.page("/pipeline/gold.eligibilites?lang=en").await;
    table
        .has("Reads")
        .has("href=\"/pipeline/silver.employees\"")
        .has("href=\"/pipeline/gold.cout_par_bu\"")
        .has("un_par_salarie")
        .has("computed anew")
        .has("montant_prime_euros");
    let folded = browser.page("/pipeline/silver.employees?lang=fr").await;
    folded.has("mode_connu").has("QUARANTINE").has("fold");
    browser
        .page("/pipeline/bronze.employees")
        .await
        .has("Lue par");
    for unknown in [
        "gold.nothing",
        "x",
        "%3Cscript%3E",
        "system.queries",
        "..%2F..%2Fetc",
    ] {
        let shown = browser.get(&format!("/pipeline/{unknown}")).await;
        assert_eq!(shown.status, 404, "{unknown}");
        shown.lacks("<script>");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_sees_its_own_tables_and_no_numbers_of_hidden_rows() {
    let running = Running::with_users().await;
    let mut max = running.signed_in("max").await;
    let page = max.page("/pipeline").await;
    page.has("gold.classement")
        .lacks("bronze.")
        .lacks("gold.activites_par_mois")
        .lacks("12 lignes")
        .has("que votre rôle voit en entier");
    let hidden = max.get("/pipeline/silver.sport_activities").await;
    let nothing = max.get("/pipeline/silver.nothing").await;
    assert_eq!((hidden.status, nothing.status), (404, 404));
    let table = max.page("/pipeline/silver.employees").await;
    table
        .has("date_embauche")
        .lacks("salaire_positif")
        .lacks("salaire_brut");
    let mut nina = running.signed_in("nina").await;
    nina.page("/pipeline")
        .await
        .has("Votre rôle ne voit aucune table.")
        .lacks("gold.");
    let mut rose = running.signed_in("rose").await;
    rose.page("/pipeline")
        .await
        .has("12 lignes")
        .has("bronze.employees");
    rose.page("/pipeline/silver.employees")
        .await
        .has("salaire_positif");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_a_project_are_escaped() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = lake::other(folder.path()).await;
    let running = Running::on(folder, lake, HttpConfig::default()).await;
    let table = running.browser().page("/pipeline/gold.nombres").await;
    table.has("Des nombres &lt;b&gt;.").lacks("<b>");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_held_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = lake::other(folder.path()).await;
    let path = folder.path().join("sql/gold/nombres.sql");
    let held = "-- @expect petit: n < 3 ON VIOLATION FAIL\nSELECT value AS n FROM range(1, 6)";
    std::fs::write(path, held).expect("written");
    lake::turn(folder.path(), &lake).await;
    let running = Running::on(folder, lake, HttpConfig::default()).await;
    let page = running.browser().page("/pipeline").await;
    page.has("retenue").has("petit");
    running.stop().await;
}
