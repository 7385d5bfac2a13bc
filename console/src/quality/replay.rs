//! What was kept aside is taken in again by the running role, as the commands `quarantine replay` and `dlq replay` ask.

use std::time::Duration;

use axum::body::Bytes;
use axum::response::{IntoResponse, Redirect, Response};
use engine::{Asked, Error, ErrorKind, Request, Result, TableName, ask};
use maud::{Markup, html};

use crate::failure;
use crate::layout;
use crate::visit::Visit;

/// How long a page waits for the role. What the role has begun by then, it goes on with.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn form(visit: &Visit, action: &str, table: Option<&TableName>, text: &str) -> Markup {
    html! {
        form method="post" action=(action) {
            (layout::form_token(visit))
            @if let Some(table) = table { input type="hidden" name="table" value=(table); }
            button type="submit" { (text) }
        }
    }
}

/// Makes a table anew from all its events.
pub(crate) async fn quarantine(visit: Visit, body: Bytes) -> Response {
    let done = async {
        let table = visit
            .form(&body)?
            .get("table")
            .unwrap_or_default()
            .to_owned();
        admitted(&visit).await?;
        let table: TableName = table.parse()?;
        let newest = visit.site.desk.reader().latest().await?;
        if newest.table(&table)?.kept_out() == 0 {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("\"{table}\" keeps no rows aside"),
            ));
        }
        let request = Request::Refresh {
            tables: vec![table.to_string()],
            full: true,
        };
        requested(&visit, request).await
    };
    answer(&visit, Box::pin(done).await, "quarantine")
}

/// Takes all dead letters in again.
pub(crate) async fn letters(visit: Visit, body: Bytes) -> Response {
    let done = async {
        visit.form(&body)?;
        admitted(&visit).await?;
        requested(&visit, Request::ReplayDeadLetters { tables: Vec::new() }).await
    };
    answer(&visit, Box::pin(done).await, "letters")
}

fn answer(visit: &Visit, done: Result<()>, what: &str) -> Response {
    match done {
        Ok(()) => Redirect::to(&format!("/quality?done={what}")).into_response(),
        Err(error) => failure::shown(visit, &error),
    }
}

async fn admitted(visit: &Visit) -> Result<()> {
    let principal = &visit.visitor.principal;
    match visit.site.desk.reader().may_replay(principal).await? {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::PermissionDenied,
            "your role may not take in again what was kept aside",
        )
        .hint("policies.sql lets a role do that with GRANT REPLAY TO role.")),
    }
}

/// Hands a request to its role, which alone writes. It stands when whoever asked leaves the page.
async fn requested(visit: &Visit, request: Request) -> Result<()> {
    let (site, role) = (visit.site.clone(), request.role());
    let asked =
        tokio::spawn(
            async move { ask(&site.lake, &request, &site.clock, PATIENCE, |_, _| {}).await },
        );
    let asked = asked.await.map_err(|broken| {
        Error::new(ErrorKind::Internal, "a request broke off").caused_by(broken)
    })?;
    match asked? {
        Asked::Answered(outcome) => {
            let user = visit.visitor.principal.name();
            tracing::info!(
                user,
                summary = outcome.summary,
                "a replay was asked for on the page"
            );
            Ok(())
        }
        Asked::Free(_) => Err(Error::new(
            ErrorKind::Unavailable,
            format!("nobody runs the {} role at this moment", role.as_str()),
        )
        .hint("Start `sportlake up` or that role, and repeat.")),
    }
}
