//! The one door: no call reaches the service before it is known who sent it.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use opentelemetry::context::FutureExt;
use tonic::Request;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;

use crate::connection::Peer;
use crate::session::{Caller, Sessions};
use crate::{errors, metrics, traces};

/// A service that is asked only in the name of somebody. Every path goes through here, one that does not exist too.
#[derive(Clone)]
pub(crate) struct Authenticated<S> {
    service: S,
    sessions: Arc<Sessions>,
}

impl<S> Authenticated<S> {
    pub(crate) fn new(service: S, sessions: Arc<Sessions>) -> Self {
        Self { service, sessions }
    }
}

impl<S: NamedService> NamedService for Authenticated<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Authenticated<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        // The one that was polled ready is the one that is called.
        let ready = self.service.clone();
        let mut service = std::mem::replace(&mut self.service, ready);
        let sessions = self.sessions.clone();
        Box::pin(async move {
            let headers = MetadataMap::from_headers(request.headers().clone());
            let peer = request.extensions().get::<Peer>().cloned();
            let peer = peer.unwrap_or(Peer::UNKNOWN);
            match sessions.authenticate(&headers, &peer).await {
                Ok(caller) => {
                    request.extensions_mut().insert(caller);
                    let trace = traces::of_caller(request.headers());
                    service.call(request).with_context(trace).await
                }
                Err(error) => {
                    let status = errors::status(error);
                    metrics::observe_call("SignIn", status.code());
                    Ok(status.into_http())
                }
            }
        })
    }
}

/// Who sent a call that came through the door.
pub(crate) fn caller<T>(request: &Request<T>) -> Result<Caller, tonic::Status> {
    let caller = request.extensions().get::<Caller>();
    caller.cloned().ok_or_else(errors::nobody)
}
