//! Accepting connections: no more than a bound at once, and all of them can be cut.
//!
//! The transport bounds neither, and its graceful shutdown waits for as long as a call takes.

use std::{
    fmt,
    future::Future as _,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::AbortOnDropHandle,
};
use tonic::transport::server::Connected;

use super::{socket::Socket, tls::Tls};
use crate::stack::Origin;

/// How long accepting rests after it has failed for want of file handles or memory.
const REST: Duration = Duration::from_millis(50);

/// Where connections come from.
#[derive(Debug)]
pub(super) enum Listener {
    /// The network.
    Tcp(TcpListener),
    /// The sidecar on this machine.
    Sidecar(Socket),
}

/// A connection that was accepted.
enum Accepted {
    Tcp(TcpStream),
    Sidecar(UnixStream),
}

impl Accepted {
    /// What comes through without TLS.
    fn plain(self) -> (Box<dyn Io>, Origin) {
        match self {
            Self::Tcp(stream) => (Box::new(stream), Origin::default()),
            Self::Sidecar(stream) => {
                (Box::new(stream), Origin { sidecar: true, certificate: None })
            }
        }
    }
}

impl Listener {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // A connection that is gone already shows when it is read.
                let _ = stream.set_nodelay(true);
                Ok(Accepted::Tcp(stream))
            }
            Self::Sidecar(socket) => socket.accept().await.map(Accepted::Sidecar),
        }
    }
}

/// A port's connections.
#[derive(Debug)]
pub(super) struct Connections {
    listener: Listener,
    tls: Option<Arc<Tls>>,
    max: usize,
    permits: Arc<Semaphore>,
    cut: CancellationToken,
}

impl Connections {
    /// At most `max` at once, with TLS on those from the network if there is any; `cut` ends them
    /// all.
    pub(super) fn new(
        listener: Listener,
        tls: Option<Arc<Tls>>,
        max: usize,
        cut: CancellationToken,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        Self { listener, tls, max, permits, cut }
    }

    /// The next connection. Those above the bound wait in the kernel's queue.
    async fn accept(&self) -> io::Result<(Accepted, OwnedSemaphorePermit)> {
        let permit = self.permits.clone().acquire_owned().await.map_err(io::Error::other)?;
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return Ok((accepted, permit)),
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// The next connection, without TLS.
    pub(super) async fn accept_plain(&self) -> io::Result<Connection> {
        let (accepted, permit) = self.accept().await?;
        let (stream, origin) = accepted.plain();
        Ok(self.connection(stream, origin, permit))
    }

    fn connection(
        &self,
        stream: Box<dyn Io>,
        origin: Origin,
        permit: OwnedSemaphorePermit,
    ) -> Connection {
        let cut = Box::pin(self.cut.clone().cancelled_owned());
        Connection { stream, origin, cut, _permit: permit }
    }

    /// The next connection, in a task that shakes hands; its output is `None` when that fails.
    async fn begin(
        self: &Arc<Self>,
        tls: Arc<Tls>,
    ) -> io::Result<AbortOnDropHandle<Option<Connection>>> {
        let (accepted, permit) = self.accept().await?;
        let connections = Arc::clone(self);
        Ok(AbortOnDropHandle::new(tokio::spawn(async move {
            let Accepted::Tcp(stream) = accepted else {
                let (stream, origin) = accepted.plain();
                return Some(connections.connection(stream, origin, permit));
            };
            match tls.accept(stream).await {
                Ok((stream, certificate)) => {
                    let origin = Origin { sidecar: false, certificate };
                    Some(connections.connection(Box::new(stream), origin, permit))
                }
                Err(error) => {
                    tracing::debug!(%error, "a TLS handshake failed");
                    None
                }
            }
        })))
    }

    /// All connections to come. Another stream may go on where this one is dropped; dropping the
    /// last closes the port.
    pub(super) fn stream(
        self: &Arc<Self>,
    ) -> impl Stream<Item = io::Result<Connection>> + Send + use<> {
        let connections = Arc::clone(self);
        let Some(tls) = self.tls.clone() else {
            return stream::unfold(connections, async |connections| {
                let accepted = connections.accept_plain().await;
                Some((accepted, connections))
            })
            .boxed();
        };
        // A caller that is slow over its handshake holds up itself alone.
        let max = self.max;
        stream::unfold((connections, tls), async |(connections, tls)| {
            let begun = connections.begin(Arc::clone(&tls)).await;
            Some((begun, (connections, tls)))
        })
        .map(async |begun| match begun {
            Ok(handshake) => handshake.await.ok().flatten().map(Ok),
            Err(error) => Some(Err(error)),
        })
        .buffer_unordered(max)
        .filter_map(async |connection| connection)
        .boxed()
    }
}

/// What bytes go through.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection that counts against the bound and can be cut.
pub(super) struct Connection {
    stream: Box<dyn Io>,
    origin: Origin,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _permit: OwnedSemaphorePermit,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Connected for Connection {
    type ConnectInfo = Origin;

    fn connect_info(&self) -> Origin {
        self.origin.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        // A connection with calls in work is always being read, so that it notices here.
        if read.is_pending() && this.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
