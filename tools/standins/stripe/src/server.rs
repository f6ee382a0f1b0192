//! The listener: HTTP/1.1 connections that a fault can cut off.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Connections at once; further ones wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 2_048;
/// How long a connection may take to send a request's head, and be idle between two requests.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// In a response's extensions: the connection is reset in place of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Sever;

/// The error that ends a connection cut off by a fault.
#[derive(Debug)]
struct Severed;

impl std::fmt::Display for Severed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is reset by a fault")
    }
}

impl std::error::Error for Severed {}

/// A TCP stream that is reset, not closed, once its flag is set.
#[derive(Debug)]
struct Stream {
    tcp: TcpStream,
    severed: Arc<AtomicBool>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.severed.load(Ordering::Acquire) {
            // With SO_LINGER at 0, closing the socket sends RST in place of FIN.
            let _ = self.tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.severed.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[derive(Debug)]
pub struct Listener {
    pub addr: SocketAddr,
    stop: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
}

impl Listener {
    /// Serves the router on the listener, in the background.
    ///
    /// # Errors
    /// If the listener's address cannot be read.
    pub fn start(tcp: TcpListener, router: Router) -> io::Result<Self> {
        let addr = tcp.local_addr()?;
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        let tasks = TaskTracker::new();
        let accepting = accept(tcp, router, stop.clone(), abort.clone(), tasks.clone());
        tasks.spawn(accepting);
        Ok(Self { addr, stop, abort, tasks })
    }

    /// Accepts no more connections, and aborts requests that are still under way after `grace`.
    pub async fn stop(self, grace: Duration) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            self.abort.cancel();
            self.tasks.wait().await;
        }
    }
}

async fn accept(
    tcp: TcpListener,
    router: Router,
    stop: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, tcp.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = stop.cancelled() => return,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = serve(stream, router.clone(), stop.clone());
                let abort = abort.clone();
                tasks.spawn(async move {
                    tokio::select! {
                        () = abort.cancelled() => {}
                        () = connection => {}
                    }
                    drop(place);
                });
            }
            Err(error) => {
                // Possibly out of file descriptors: wait for some to be released.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(tcp: TcpStream, router: Router, stop: CancellationToken) {
    let _ = tcp.set_nodelay(true);
    let severed = Arc::new(AtomicBool::new(false));
    let stream = Stream { tcp, severed: Arc::clone(&severed) };
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (router, severed) = (router.clone(), Arc::clone(&severed));
        async move {
            let answer = match router.oneshot(request.map(Body::new)).await {
                Ok(answer) => answer,
                Err(never) => match never {},
            };
            if answer.extensions().get::<Sever>().is_some() {
                severed.store(true, Ordering::Release);
                return Err(Severed);
            }
            Ok(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // An error of a connection is not logged: faults cut connections on purpose.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
