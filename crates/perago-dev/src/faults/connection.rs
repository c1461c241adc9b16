//! Connections that a fault can end: closed, reset, or cut within a reply.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// How the head of a reply ends.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Accepts connections that faults can end.
pub(crate) struct FaultListener(pub(crate) TcpListener);

/// A connection whose [`Line`] decides what of it still passes.
pub(crate) struct FaultStream {
    stream: TcpStream,
    line: Line,
}

/// A handler's hold of the connection that its request came on.
#[derive(Clone, Default)]
pub(crate) struct Line(Arc<Mutex<State>>);

#[derive(Default)]
enum State {
    #[default]
    Open,
    Truncated(Truncation),
    Closed,
    Reset,
}

/// What still leaves: the head of one reply, then so many bytes.
#[derive(Clone)]
struct Truncation {
    matched: usize,
    left: u64,
}

impl Truncation {
    /// How many of these bytes may leave.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        for byte in bytes {
            if self.matched < HEAD_END.len() {
                self.matched = match self.matched {
                    matched if HEAD_END[matched] == *byte => matched + 1,
                    _ if *byte == b'\r' => 1,
                    _ => 0,
                };
            } else if self.left == 0 {
                break;
            } else {
                self.left -= 1;
            }
            passed += 1;
        }
        passed
    }
}

impl Line {
    /// Nothing passes any more; the client sees the end of the connection.
    pub(super) fn close(&self) {
        *self.lock() = State::Closed;
    }

    /// The same; the client sees that the connection was reset.
    pub(super) fn reset(&self) {
        *self.lock() = State::Reset;
    }

    /// Of the next reply so many bytes of the body pass; then the connection ends.
    pub(super) fn truncate(&self, bytes: u64) {
        *self.lock() = State::Truncated(Truncation { matched: 0, left: bytes });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for FaultListener {
    type Io = FaultStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (FaultStream, SocketAddr) {
        // The library's own: it goes on where the system refuses a connection for a while.
        let (stream, address) = Listener::accept(&mut self.0).await;
        let _ = stream.set_nodelay(true);
        (FaultStream { stream, line: Line::default() }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, FaultListener>> for Line {
    fn connect_info(stream: IncomingStream<'_, FaultListener>) -> Self {
        stream.io().line.clone()
    }
}

impl FaultStream {
    /// Fails once the connection has ended by a fault.
    fn check(&self) -> io::Result<()> {
        match *self.line.lock() {
            State::Open | State::Truncated(_) => Ok(()),
            State::Closed => Err(io::ErrorKind::ConnectionAborted.into()),
            State::Reset => {
                // Without waiting for what is unsent, a close is a reset.
                self.stream.set_zero_linger()?;
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
    }
}

impl AsyncRead for FaultStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for FaultStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        let line = self.line.clone();
        let mut state = line.lock();
        let State::Truncated(truncation) = &mut *state else {
            drop(state);
            return Pin::new(&mut self.stream).poll_write(context, bytes);
        };
        let allowed = truncation.clone().pass(bytes);
        if allowed == 0 {
            *state = State::Closed;
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, &bytes[..allowed]);
        if let Poll::Ready(Ok(count)) = written {
            truncation.pass(&bytes[..count]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::Truncation;

    #[test]
    fn the_head_passes_and_then_so_many_bytes() {
        let reply = b"HTTP/1.1 200 OK\r\nA: \r\r\n\r\n0123456789";
        let head = reply.len() - 10;
        for left in [0, 3, 10, 20] {
            let whole = Truncation { matched: 0, left }.pass(reply);
            assert_eq!(whole, head + 10.min(usize::try_from(left).unwrap()), "{left}");
            let mut in_pieces = Truncation { matched: 0, left };
            let passed: usize = reply.chunks(3).map(|piece| in_pieces.pass(piece)).sum();
            assert_eq!(passed, whole, "{left}");
        }
    }
}
