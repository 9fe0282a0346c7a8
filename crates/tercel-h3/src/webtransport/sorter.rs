//! Tells the streams of sessions from those of HTTP/3 by how they begin, before h3 sees them.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tercel::aio::{self, ConnectionError};
use tercel_wire::Reader;

use super::router::{Incoming, Router};
use super::session::{BIDIRECTIONAL, UNIDIRECTIONAL};

/// How much is read at a time.
const CHUNK: usize = 64 << 10;

/// Whose a stream is.
enum Owner {
    Http,
    Session(u64),
}

type Sorting = std::pin::Pin<Box<dyn Future<Output = (Incoming, Owner)> + Send>>;

/// The streams of the peer that have not told yet whose they are.
pub(crate) struct Sorter {
    router: Arc<Router>,
    bidirectional: FuturesUnordered<Sorting>,
    unidirectional: FuturesUnordered<Sorting>,
}

impl Sorter {
    /// Of a connection, whose streams of sessions `router` takes.
    pub(crate) fn new(router: Arc<Router>) -> Self {
        Self { router, bidirectional: FuturesUnordered::new(), unidirectional: FuturesUnordered::new() }
    }

    /// The next bidirectional stream of HTTP/3.
    pub(crate) fn poll_bi(
        &mut self,
        connection: &aio::Connection,
        context: &mut Context<'_>,
    ) -> Poll<Result<(aio::SendStream, aio::RecvStream, Bytes), ConnectionError>> {
        while let Poll::Ready(accepted) = connection.poll_accept_bi(context) {
            let (send, recv) = accepted?;
            self.bidirectional.push(Box::pin(sort(Some(send), recv, BIDIRECTIONAL)));
        }
        while let Poll::Ready(stream) = next(&mut self.bidirectional, &self.router, context) {
            if let Some(send) = stream.send {
                return Poll::Ready(Ok((send, stream.recv, stream.head)));
            }
        }
        Poll::Pending
    }

    /// The next unidirectional stream of HTTP/3.
    pub(crate) fn poll_uni(
        &mut self,
        connection: &aio::Connection,
        context: &mut Context<'_>,
    ) -> Poll<Result<Incoming, ConnectionError>> {
        while let Poll::Ready(accepted) = connection.poll_accept_uni(context) {
            self.unidirectional.push(Box::pin(sort(None, accepted?, UNIDIRECTIONAL)));
        }
        next(&mut self.unidirectional, &self.router, context).map(Ok)
    }
}

/// The next stream that is of HTTP/3; those of sessions go their way.
fn next(sorting: &mut FuturesUnordered<Sorting>, router: &Router, context: &mut Context<'_>) -> Poll<Incoming> {
    while let Poll::Ready(Some((stream, owner))) = sorting.poll_next_unpin(context) {
        match owner {
            Owner::Http => return Poll::Ready(stream),
            Owner::Session(id) => router.stream(id, stream),
        }
    }
    Poll::Pending
}

/// Reads until the owner is known. A stream that ends before is left to HTTP/3.
async fn sort(send: Option<aio::SendStream>, mut recv: aio::RecvStream, signal: u64) -> (Incoming, Owner) {
    let mut head = Bytes::new();
    loop {
        if let Some((owner, used)) = owner(&head, signal) {
            head.advance(used);
            return (Incoming { send, recv, head }, owner);
        }
        match recv.read_chunk(CHUNK).await {
            Ok(Some(chunk)) if head.is_empty() => head = chunk,
            Ok(Some(chunk)) => {
                let mut joined = BytesMut::from(head);
                joined.extend_from_slice(&chunk);
                head = joined.freeze();
            }
            // Whoever reads on finds the same end.
            Ok(None) | Err(_) => return (Incoming { send, recv, head }, Owner::Http),
        }
    }
}

/// Whose a stream is that begins so, and how much of it told that.
fn owner(head: &[u8], signal: u64) -> Option<(Owner, usize)> {
    let mut reader = Reader::new(head);
    if reader.varint().ok()? != signal {
        return Some((Owner::Http, 0));
    }
    let id = reader.varint().ok()?;
    Some((Owner::Session(id), head.len() - reader.remaining()))
}
