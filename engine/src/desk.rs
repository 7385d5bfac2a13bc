use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use futures::Stream;

use crate::error::Result;
use crate::principal::Principal;
use crate::reader::{Reader, Session};
use crate::system::QueryState;

/// Somebody at a desk.
#[derive(Debug, Clone)]
pub struct Visitor {
    pub principal: Principal,
    pub from: IpAddr,
}

/// The rows of one statement as they come. Dropping them ends the work.
pub struct Answer {
    pub schema: SchemaRef,
    pub batches: Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>,
}

/// Where a process knows who asks and runs what they ask, whatever the protocol: one count of wrong passwords, one
/// queue, one list of statements.
#[async_trait]
pub trait Desk: Send + Sync {
    /// What it reads with; sessions of this reader have the tables of `system`.
    fn reader(&self) -> &Reader;

    /// Whether there are users, so that somebody has to sign in. Without, everybody is an operator.
    fn has_users(&self) -> bool;

    /// A token that stands for a user for so long.
    ///
    /// # Errors
    /// `Unauthenticated` for a user or a password that is wrong, or that comes too soon after wrong ones.
    async fn sign_in(
        &self,
        user: &str,
        password: String,
        from: IpAddr,
        lifetime: Duration,
    ) -> Result<String>;

    /// Whom a token stands for.
    ///
    /// # Errors
    /// `Unauthenticated` for one that is none, has expired or was taken back.
    fn principal(&self, token: &str) -> Result<Principal>;

    /// From here on a token stands for nobody.
    fn sign_out(&self, token: &str);

    /// Bytes that only this desk knows for a text.
    fn proof(&self, text: &str) -> [u8; 32];

    /// What somebody sees of the newest epoch.
    async fn session(&self, principal: &Principal) -> Result<Session>;

    /// Runs a statement on an epoch, with one row of parameters in ordinal order.
    ///
    /// # Errors
    /// Those of planning; `ResourceExhausted` and `Unavailable` when there is no turn for it.
    async fn answer(
        &self,
        visitor: &Visitor,
        sql: &str,
        parameters: Option<RecordBatch>,
        epoch: u64,
    ) -> Result<Answer>;

    /// Ends a statement of the visitor, or of somebody else where the visitor may do that.
    ///
    /// # Errors
    /// `NotFound` for one that is not there, or not the visitor's to end.
    async fn kill(&self, visitor: &Visitor, query_id: u64) -> Result<QueryState>;
}
