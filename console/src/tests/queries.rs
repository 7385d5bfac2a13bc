use std::time::Duration;

use engine::{Principal, Visitor};
use futures::StreamExt;

use super::{Browser, Running};

impl Running {
    /// A statement of somebody that goes on until it is ended.
    async fn long_statement(&self, name: &str, role: &str) -> engine::Answer {
        let roles = [role.to_owned()];
        let visitor = Visitor {
            principal: Principal::new(name, roles, [("bu".to_owned(), "Ventes".to_owned())].into()),
            from: self.address.ip(),
        };
        let sql = "SELECT count(*) FROM range(0, 1000000) a CROSS JOIN range(0, 1000000) b";
        let session = self
            .desk
            .session(&visitor.principal)
            .await
            .expect("a session");
        let answer = self.desk.answer(&visitor, sql, None, session.epoch()).await;
        answer.expect("runs")
    }
}

/// The number of the query that the page's button would end.
fn to_kill(page: &str) -> Option<String> {
    let after = page.split("name=\"query_id\" value=\"").nth(1)?;
    Some(after.split('"').next()?.to_owned())
}

async fn kill(browser: &mut Browser, id: &str) -> u16 {
    let token = browser.page("/queries").await.token();
    let values = [("token", token.as_str()), ("query_id", id)];
    browser.post("/queries/kill", &values).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn one_ends_ones_own_statements_and_no_others() {
    let running = Running::with_users().await;
    let mut answer = running.long_statement("max", "manager").await;
    let mut max = running.signed_in("max").await;
    let mut sam = running.signed_in("sam").await;
    let page = max.page("/queries").await;
    page.has("CROSS JOIN").has("en cours");
    let id = to_kill(&page.body).expect("a button");
    sam.page("/queries").await.lacks("CROSS JOIN").lacks(&id);
    assert_eq!(kill(&mut sam, &id).await, 404);
    assert_eq!(kill(&mut sam, "4711").await, 404);
    assert_eq!(kill(&mut max, "x").await, 400);
    assert_eq!(kill(&mut max, &id).await, 303);
    let ended = tokio::time::timeout(Duration::from_secs(10), answer.batches.next()).await;
    let error = ended
        .expect("ends soon")
        .expect("an end")
        .expect_err("killed");
    assert_eq!(error.kind(), engine::ErrorKind::Cancelled);
    let page = max.page("/queries").await;
    page.has("arrêtée");
    assert_eq!(to_kill(&page.body), None, "nothing of max runs");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_what_the_page_itself_asks() {
    let running = Running::anonymous().await;
    let mut browser = running.browser();
    browser.page("/").await;
    let page = browser.page("/queries").await;
    page.has("FROM gold.indicateurs")
        .has("terminée")
        .lacks("FROM system.queries");
    running.stop().await;
}
