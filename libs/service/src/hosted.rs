//! What one service brings into a process.

use std::{convert::Infallible, fmt, future::Future};

use axum::response::IntoResponse;
use futures::{FutureExt as _, future::BoxFuture};
use http::Request;
use tokio::sync::watch;
use tonic::{body::Body, server::NamedService};
use tower::{Service, ServiceExt as _};

/// A service ready to be served, alone or beside others in one process.
#[derive(Debug, Default)]
pub struct Hosted {
    pub(crate) routes: axum::Router,
    pub(crate) services: Vec<&'static str>,
    pub(crate) http: axum::Router,
    pub(crate) tasks: Vec<Task>,
    pub(crate) ready: Vec<Ready>,
}

/// Whether these services may be sent new work.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) services: Vec<&'static str>,
    pub(crate) ready: watch::Receiver<bool>,
}

impl Hosted {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a gRPC service; health reports it under its full name.
    #[must_use]
    pub fn grpc<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.routes = self.routes.route_service(
            &format!("/{}/{{*method}}", S::NAME),
            service.map_request(|request: Request<axum::body::Body>| request.map(Body::new)),
        );
        self.services.push(S::NAME);
        self
    }

    /// Adds routes to the HTTP port. `/metrics`, `/livez` and `/readyz` are taken.
    #[must_use]
    pub fn http(mut self, router: axum::Router) -> Self {
        self.http = self.http.merge(router);
        self
    }

    /// Adds a background task. It holds a [`crate::Drain`] and returns `Ok` once that has started.
    /// When it fails or panics the whole process stops serving and ends with an error: it would be
    /// half a service.
    #[must_use]
    pub fn task<F>(mut self, name: &'static str, task: F) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.tasks.push(Task { name, future: task.boxed() });
        self
    }

    /// Has the gRPC services that were added so far report NOT_SERVING, and the process not ready,
    /// while `ready` is false. When it turns false every connection is told to go away (GOAWAY)
    /// once its calls have ended, so that callers who keep one connection find another instance.
    /// Calls that arrive nevertheless are served.
    #[must_use]
    pub fn ready_while(mut self, ready: watch::Receiver<bool>) -> Self {
        self.ready.push(Ready { services: self.services.clone(), ready });
        self
    }

    /// The full names of the gRPC services.
    pub fn services(&self) -> &[&'static str] {
        &self.services
    }
}

/// A background task of a service.
pub struct Task {
    pub(crate) name: &'static str,
    pub(crate) future: BoxFuture<'static, anyhow::Result<()>>,
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("name", &self.name).finish_non_exhaustive()
    }
}
