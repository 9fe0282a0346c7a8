//! A server: one connection, made once, for all that is asked there.
//!
//! With a ticket of an earlier run the session goes on, and what may be done twice can be asked before the
//! handshake is complete (0-RTT). Several addresses may be tried; only the first attempt carries such early
//! requests. Whoever has asked early looks at what became of it: if another attempt won, or the server chose
//! another protocol, it asks again on the connection that there is.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tercel::aio::{Connecting, Connection, Endpoint};
use tercel::{Configuration, Connect, ResumptionTicket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cache::{Cache, Key, Memory};
use crate::connect::{self, Race};
use crate::exchange::Server;
use crate::failure::{Failure, Outcome};
use crate::judge::{Judge, Judged};
use crate::{hq, now};

/// The application protocols that are offered.
pub(super) const ALPN: [&[u8]; 2] = [tercel_h3::ALPN, hq::ALPN.as_bytes()];

/// With what connections are made.
pub(super) struct Client {
    pub(super) endpoint: Endpoint,
    pub(super) configuration: Configuration,
    pub(super) judge: Judge,
    pub(super) cache: Option<Cache>,
    /// What tells whom we trust from any other trust.
    pub(super) trust: String,
    /// Whether anything that is asked may be asked early.
    pub(super) early: bool,
}

/// All servers of a run.
pub(super) struct Sessions {
    client: Arc<Client>,
    sessions: Mutex<BTreeMap<(String, u16), Arc<Session>>>,
}

/// How far a session has come.
#[derive(Clone)]
enum State {
    Opening,
    /// Early data can be sent.
    Early(Server),
    Open(Arc<Open>),
    Failed(Failure),
}

/// A session whose handshake is complete.
pub(super) struct Open {
    pub(super) server: Server,
    pub(super) connection: Connection,
    pub(super) facts: Facts,
    /// Whether what was asked early was asked on this connection.
    early_holds: bool,
    valid_until: Option<i64>,
}

/// What the beginning took, and how it went.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) address: SocketAddr,
    pub(super) resolve: Duration,
    pub(super) handshake: Duration,
    /// `None` if there was nothing to judge.
    pub(super) verdict: Option<Duration>,
    pub(super) resumed: bool,
    pub(super) early_data: EarlyData,
}

/// What became of early data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EarlyData {
    /// None was sent.
    None,
    Accepted,
    Rejected,
}

/// A server with which HTTP/3 begins.
type Beginning = JoinHandle<Result<Server, String>>;

/// One server, and the connection to it.
pub(super) struct Session {
    host: String,
    port: u16,
    key: Key,
    state: watch::Sender<State>,
    /// Whether somebody has told how its beginning went.
    is_told: AtomicBool,
}

impl Sessions {
    pub(super) fn new(client: Client) -> Self {
        Self { client: Arc::new(client), sessions: Mutex::default() }
    }

    /// The session with a server, which begins when it is asked for first.
    pub(super) fn of(&self, host: &str, port: u16) -> Arc<Session> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let session = sessions.entry((host.to_owned(), port)).or_insert_with(|| {
            let session = Arc::new(Session {
                host: host.to_owned(),
                port,
                key: Key::new(host, port, &ALPN, &self.client.trust),
                state: watch::channel(State::Opening).0,
                is_told: AtomicBool::new(false),
            });
            tokio::spawn(session.clone().begin(self.client.clone()));
            session
        });
        session.clone()
    }

    /// Ends all sessions, and remembers what later ones can go on with.
    pub(super) async fn leave(&self) {
        let sessions = std::mem::take(&mut *self.sessions.lock().unwrap_or_else(PoisonError::into_inner));
        let mut leaving = tokio::task::JoinSet::new();
        for session in sessions.into_values() {
            let client = self.client.clone();
            leaving.spawn(async move { session.leave(&client).await });
        }
        while leaving.join_next().await.is_some() {}
    }
}

impl Session {
    async fn begin(self: Arc<Self>, client: Arc<Client>) {
        let state = match self.open(&client).await {
            Ok(open) => State::Open(Arc::new(open)),
            Err(failure) => State::Failed(failure),
        };
        self.state.send_replace(state);
    }

    async fn open(self: &Arc<Self>, client: &Arc<Client>) -> Outcome<Open> {
        let started = now();
        let mut addresses = connect::resolve(&self.host, self.port).await?;
        let (resolved, resolve) = (now(), started.elapsed());
        let memory = client.cache.as_ref().map(|cache| cache.take(&self.key)).unwrap_or_default();
        // RFC 8305 section 4: who knows which address has answered may begin with it.
        if let Some(at) = memory.address.and_then(|known| addresses.iter().position(|address| *address == known)) {
            addresses[..=at].rotate_right(1);
        }
        let first = addresses.first().copied();
        let mut early = None;
        let Race { won, failed } = connect::race(&addresses, |address| {
            let connecting = self.connect(client, address, &memory, first == Some(address));
            if let (true, Ok(connecting)) = (first == Some(address), &connecting) {
                early = self.clone().ask_early(client, connecting, &memory).map(|server| (address, server));
            }
            let judge = client.judge.clone();
            async move { Attempt(connecting?).accompanied(&judge).await }
        })
        .await;
        let authority = format!("{}:{}", self.host, self.port);
        let Some((address, Judged { connection, verdict, valid_until })) = won else {
            return Err(connect::failure(&authority, &failed));
        };
        let handshake = resolved.elapsed();
        let is_http3 = connection.alpn().as_deref() == Some(tercel_h3::ALPN);
        let (early_sent, early_server) = match early {
            Some((begun, server)) if begun == address => (true, Some(server).filter(|_| is_http3)),
            _ => (false, None),
        };
        let early_holds = early_server.is_some();
        let server = match early_server {
            Some(server) => server.await.unwrap_or_else(|error| Err(error.to_string())),
            None => Server::new(&connection).await,
        };
        let server = server.map_err(|why| Failure::new(format!("cannot use {authority}"), why))?;
        let early_data = match (early_sent, connection.is_early_data_accepted()) {
            (false, _) => EarlyData::None,
            (true, true) => EarlyData::Accepted,
            (true, false) => EarlyData::Rejected,
        };
        let resumed = connection.is_resumed();
        let valid_until = if resumed { memory.valid_until } else { valid_until };
        let facts = Facts { address, resolve, handshake, verdict, resumed, early_data };
        Ok(Open { server, connection, facts, early_holds, valid_until })
    }

    fn connect(
        &self,
        client: &Client,
        address: SocketAddr,
        memory: &Memory,
        is_first: bool,
    ) -> Result<Connecting, String> {
        let mut connect = Connect::new(address, self.host.clone());
        // Neither is shown twice (RFC 8446 appendix C.4, RFC 9000 section 8.1.3).
        if is_first {
            (connect.token, connect.ticket) = (memory.token.clone(), memory.ticket.clone());
        }
        client.endpoint.connect_with(&client.configuration, connect).map_err(|error| error.to_string())
    }

    /// Lets what may be done twice be asked on a connection whose handshake is under way, if it permits that;
    /// gives the server that is asked so.
    fn ask_early(self: Arc<Self>, client: &Client, connecting: &Connecting, memory: &Memory) -> Option<Beginning> {
        let permitted = memory.ticket.as_ref().is_some_and(ResumptionTicket::permits_early_data);
        if !client.early || !permitted || !memory.is_http3 {
            return None;
        }
        let early = connecting.early();
        Some(tokio::spawn(async move {
            let server = Server::http3(&early).await?;
            self.state.send_if_modified(|state| {
                let is_opening = matches!(state, State::Opening);
                if is_opening {
                    *state = State::Early(server.clone());
                }
                is_opening
            });
            Ok(server)
        }))
    }

    /// The server to ask, and whether that would be early.
    pub(super) async fn server(&self, early: bool) -> Outcome<(Server, bool)> {
        let mut state = self.state.subscribe();
        let known = state.wait_for(|state| match state {
            State::Opening => false,
            State::Early(_) => early,
            State::Open(_) | State::Failed(_) => true,
        });
        // The sender is this session's.
        match known.await.map(|state| state.clone()) {
            Ok(State::Open(open)) => Ok((open.server.clone(), false)),
            Ok(State::Early(server)) => Ok((server, true)),
            Ok(State::Failed(failure)) => Err(failure),
            Ok(State::Opening) | Err(_) => Err(Failure::plain("the session has ended")),
        }
    }

    /// The session, once its handshake is complete.
    pub(super) async fn opened(&self) -> Outcome<Arc<Open>> {
        let mut state = self.state.subscribe();
        match state
            .wait_for(|state| matches!(state, State::Open(_) | State::Failed(_)))
            .await
            .map(|state| state.clone())
        {
            Ok(State::Open(open)) => Ok(open),
            Ok(State::Failed(failure)) => Err(failure),
            _ => Err(Failure::plain("the session has ended")),
        }
    }

    /// Waits until it is known that what was asked early must be asked again.
    pub(super) async fn early_is_lost(&self) {
        match self.opened().await {
            Ok(open) if open.early_holds => std::future::pending().await,
            _ => {}
        }
    }

    /// Whether this is the first time that somebody tells of its beginning.
    pub(super) fn is_first_told(&self) -> bool {
        !self.is_told.swap(true, Ordering::Relaxed)
    }

    async fn leave(&self, client: &Client) {
        /// For a ticket that is under way, or for an answer to the last word.
        const PATIENCE: Duration = Duration::from_millis(200);
        let State::Open(open) = self.state.borrow().clone() else { return };
        let connection = &open.connection;
        if let Some(cache) = client.cache.as_ref().filter(|_| connection.close_reason().is_none()) {
            let ticket = tokio::time::timeout(PATIENCE, connection.resumption_ticket()).await;
            let memory = Memory {
                address: Some(open.facts.address),
                ticket: ticket.ok().and_then(Result::ok),
                is_http3: matches!(open.server, Server::Http3(..)),
                token: connection.token().unwrap_or_default(),
                valid_until: open.valid_until,
            };
            cache.put(&self.key, &memory);
        }
        // What was broken off may never be delivered.
        let _ = tokio::time::timeout(PATIENCE, connection.shutdown(0x100u32.into(), b"")).await;
    }
}

/// A handshake under way, which is closed if it is given up: others may hold the connection, too.
struct Attempt(Connecting);

impl Attempt {
    async fn accompanied(self, judge: &Judge) -> Result<Judged, String> {
        struct Closes(Option<Connection>);
        impl Drop for Closes {
            fn drop(&mut self) {
                if let Some(connection) = &self.0 {
                    // H3_NO_ERROR (RFC 9114 section 8.1).
                    connection.close(0x100u32.into(), b"");
                }
            }
        }
        let mut closes = Closes(Some(self.0.early()));
        let judged = judge.accompany(self.0).await?;
        closes.0 = None;
        Ok(judged)
    }
}
