//! The sessions of a connection: streams and datagrams enter, and leave to the session they name. What
//! comes before its session waits, as much of it as is bearable.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tercel::aio;
use tercel_wire::Reader;

use super::code::{BUFFERED_STREAM_REJECTED, H3_DATAGRAM_ERROR, H3_ID_ERROR, SESSION_GONE};
use super::session::State;
use crate::server::Limits;

/// So many streams wait for their session; beyond, the one that waits longest is refused.
const MAX_EARLY_STREAMS: usize = 64;
/// So many datagrams wait for their session; beyond, the oldest are dropped.
const MAX_EARLY_DATAGRAMS: usize = 64;
/// So many sessions are remembered after their end, to refuse what still comes for them.
const MAX_REMEMBERED: usize = 64;

/// A stream that has arrived, and what was read of it.
pub(crate) struct Incoming {
    /// Of a bidirectional stream.
    pub(crate) send: Option<aio::SendStream>,
    pub(crate) recv: aio::RecvStream,
    pub(crate) head: Bytes,
}

impl Incoming {
    /// Nobody wants it. What has ended before needs neither.
    pub(super) fn refuse(mut self, code: u32) {
        if let Some(send) = &mut self.send {
            let _ = send.reset(code.into());
        }
        let _ = self.recv.stop(code.into());
    }
}

/// Who has which session.
pub(crate) struct Router {
    connection: aio::Connection,
    limits: Limits,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    open: BTreeMap<u64, Arc<State>>,
    ended: VecDeque<u64>,
    early_streams: VecDeque<(u64, Incoming)>,
    early_datagrams: VecDeque<(u64, Bytes)>,
}

impl Router {
    pub(crate) fn new(connection: aio::Connection, limits: Limits) -> Arc<Self> {
        Arc::new(Self { connection, limits, table: Mutex::default() })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session begins; `None` if there are too many.
    pub(super) fn begin(&self, id: u64) -> Option<Arc<State>> {
        let mut table = self.table();
        if table.open.len() as u64 >= self.limits.max_sessions {
            return None;
        }
        let state = Arc::new(State::new(id, self.connection.clone(), self.limits.max_unread_datagrams));
        table.open.insert(id, state.clone());
        for (_, stream) in take(&mut table.early_streams, id) {
            state.stream(stream);
        }
        for (_, data) in take(&mut table.early_datagrams, id) {
            state.datagram(data);
        }
        Some(state)
    }

    /// A session has ended, or a request was for none.
    pub(super) fn end(&self, id: u64) {
        let mut table = self.table();
        if table.open.remove(&id).is_some() {
            if table.ended.len() == MAX_REMEMBERED {
                table.ended.pop_front();
            }
            table.ended.push_back(id);
        }
        let streams = take(&mut table.early_streams, id);
        take(&mut table.early_datagrams, id);
        drop(table);
        for (_, stream) in streams {
            stream.refuse(SESSION_GONE);
        }
    }

    /// A request turned out to be for no session.
    pub(crate) fn is_no_session(&self, id: u64) {
        self.end(id);
    }

    /// A stream has arrived that names a session.
    pub(super) fn stream(&self, id: u64, stream: Incoming) {
        // Sessions are requests, and those come on bidirectional streams of the client.
        if !id.is_multiple_of(4) {
            return self.connection.close(H3_ID_ERROR.into(), b"a stream names a session that cannot be");
        }
        let mut table = self.table();
        if let Some(session) = table.open.get(&id) {
            return session.stream(stream);
        }
        let refused = if table.ended.contains(&id) {
            Some((stream, SESSION_GONE))
        } else {
            table.early_streams.push_back((id, stream));
            let too_many = table.early_streams.len() > MAX_EARLY_STREAMS;
            let oldest = if too_many { table.early_streams.pop_front() } else { None };
            oldest.map(|(_, stream)| (stream, BUFFERED_STREAM_REJECTED))
        };
        drop(table);
        if let Some((stream, code)) = refused {
            stream.refuse(code);
        }
    }

    /// A datagram has arrived (RFC 9297 section 2.1).
    fn datagram(&self, mut data: Bytes) {
        const MAX_QUARTER: u64 = (1 << 60) - 1;
        let mut reader = Reader::new(&data);
        let named = reader.varint();
        let left = reader.remaining();
        let id = match named {
            Ok(quarter @ ..=MAX_QUARTER) => quarter * 4,
            _ => return self.connection.close(H3_DATAGRAM_ERROR.into(), b"a datagram names no request"),
        };
        let data = data.split_off(data.len() - left);
        let mut table = self.table();
        if let Some(session) = table.open.get(&id) {
            session.datagram(data);
        } else if !table.ended.contains(&id) {
            if table.early_datagrams.len() == MAX_EARLY_DATAGRAMS {
                table.early_datagrams.pop_front();
            }
            table.early_datagrams.push_back((id, data));
        }
    }
}

/// Takes out what is for one session, in order.
fn take<T>(early: &mut VecDeque<(u64, T)>, id: u64) -> VecDeque<(u64, T)> {
    if early.is_empty() {
        return VecDeque::new();
    }
    let (taken, left) = std::mem::take(early).into_iter().partition(|(of, _)| *of == id);
    *early = left;
    taken
}

/// Brings the datagrams of a connection to its sessions until it ends.
pub(crate) async fn pump(connection: aio::Connection, router: Arc<Router>) {
    while let Ok(data) = connection.read_datagram().await {
        router.datagram(data);
    }
}
