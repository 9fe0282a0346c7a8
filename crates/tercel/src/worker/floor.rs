//! What the connections of a worker share while one of them has its turn: routes, sockets, timers.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use tercel_proto::config::TransportConfig;
use tercel_proto::connection::{RouteChange, Shared, Transmit, Workspace};
use tercel_proto::entropy::Entropy;
use tercel_proto::path::{Ecn, PathAddress};
use tercel_proto::stateless::reset;
use tercel_proto::time::Time;
use tercel_wire::ResetToken;

use super::ready::Ready;
use super::timer_wheel::TimerWheel;
use crate::binding::cid_layout::{CidKeys, Issuer};
use crate::binding::listener::ListenerShared;
use crate::binding::ration::Rations;
use crate::binding::routes::Routes;
use crate::binding::sockets::{Sent, Sockets};
use crate::counters::Counters;
use crate::datapath::SocketId;
use crate::registration::{RegistrationConfig, RegistrationShared};

/// Whether a worker lets its application go first, where that has its tasks on the same thread: what tasks answer can
/// leave with the acknowledgement of what they were told, and a peer is woken once and not twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Way {
    /// The application has handlers, which answer before they return, or threads of its own.
    #[default]
    Kept,
    /// It has tasks, and none of them has been told anything in this turn.
    Open,
    /// Something was told that tasks may answer: they are to run before the next turn.
    Given,
}

/// See the module.
pub(crate) struct Floor {
    pub(crate) now: Time,
    pub(crate) entropy: Entropy,
    pub(crate) routes: Routes,
    pub(crate) sockets: Sockets,
    /// What this worker has done.
    pub(super) counters: Counters,
    pub(super) ready: Ready,
    /// Made at the first turn, which tells the time.
    timers: Option<TimerWheel>,
    /// Likewise.
    pub(super) rations: Option<Rations>,
    /// Makes connection IDs.
    pub(super) keys: Arc<CidKeys>,
    worker: u8,
    pub(crate) way: Way,
    /// Lent to each connection for its turn.
    pub(crate) workspace: Workspace,
    pub(crate) chunks: Vec<Bytes>,
}

impl Floor {
    pub(super) fn new(worker: usize, registration: &RegistrationShared, mut entropy: Entropy) -> Self {
        Self {
            now: Time::ZERO,
            routes: Routes::new(&mut entropy),
            entropy,
            sockets: Sockets::default(),
            counters: Counters::default(),
            ready: Ready::default(),
            timers: None,
            rations: None,
            keys: registration.keyring.cid_keys(),
            worker: worker as u8,
            way: Way::default(),
            workspace: Workspace::default(),
            chunks: Vec::new(),
        }
    }

    /// A turn begins.
    pub(super) fn begin(&mut self, now: Time, config: &RegistrationConfig) {
        self.now = now;
        self.sockets.begin();
        self.rations.get_or_insert_with(|| Rations::new(config, now));
    }

    fn timers(&mut self) -> &mut TimerWheel {
        let now = self.now;
        self.timers.get_or_insert_with(|| TimerWheel::new(now))
    }

    /// Its application has been told something. Tells whether that has tasks, which are to run now.
    pub(crate) fn give_way(&mut self) -> bool {
        if self.way == Way::Open {
            self.way = Way::Given;
        }
        self.way == Way::Given
    }

    /// Readies the connections whose deadline has come.
    pub(super) fn expire(&mut self) {
        let now = self.now;
        self.timers();
        if let Some(wheel) = &mut self.timers {
            wheel.advance(now, |slot| self.ready.push(slot));
        }
    }

    pub(super) fn set_timer(&mut self, slot: u32, deadline: Option<Time>) {
        self.timers().set(slot, deadline);
    }

    pub(super) fn next_timer(&mut self) -> Option<Time> {
        self.timers().next()
    }

    /// Nothing leads to the slot any more.
    pub(super) fn forget(&mut self, slot: u32, routes: &[RouteChange]) {
        self.timers().clear(slot);
        for route in routes {
            let change = match *route {
                RouteChange::Add(id) => RouteChange::Remove(id),
                RouteChange::AddResetToken(token) => RouteChange::RemoveResetToken(token),
                other => other,
            };
            self.routes.apply(slot, change);
        }
    }

    /// What a new connection shares with the others; `local` is where its client came to, if it is a server's.
    pub(super) fn shared(&mut self, transport: Arc<TransportConfig>, local: Option<IpAddr>) -> Shared {
        let issuer = Box::new(self.issuer(local));
        Shared { transport, issuer, entropy: Entropy::from_seed(self.entropy.array()) }
    }

    /// Makes connection IDs that lead here.
    pub(super) fn issuer(&self, local: Option<IpAddr>) -> Issuer {
        Issuer { keys: self.keys.clone(), worker: self.worker, local }
    }

    /// The first listener on `socket` that serves one of `alpn`.
    pub(crate) fn listener_for(&self, socket: SocketId, alpn: &[Vec<u8>]) -> Option<Arc<ListenerShared>> {
        self.sockets.listeners(socket).iter().find(|listener| listener.serves(alpn)).cloned()
    }

    /// The stateless reset with `token` in answer to a datagram of `len` bytes, if one may be sent.
    pub(super) fn stateless_reset(&mut self, token: ResetToken, len: usize) -> Option<Vec<u8>> {
        let may = self.rations.as_mut()?.resets.take(self.now);
        let sent = if may { &mut self.counters.resets_sent } else { &mut self.counters.answers_withheld };
        *sent += 1;
        may.then(|| reset::respond(token, len, &mut self.entropy)).flatten()
    }

    /// Sends an answer that no connection stands behind.
    pub(super) fn answer(&mut self, socket: SocketId, path: PathAddress, contents: &[u8]) {
        let transmit = Transmit { path, ecn: Ecn::NotEct, len: contents.len(), segment_size: None, mtu_probe: false };
        self.sockets.answer(socket, &transmit, contents);
    }

    /// Has something made to send; see [`Sockets::transmit`]. It waits for that of others only if they are to have their turn.
    pub(crate) fn transmit(
        &mut self,
        socket: SocketId,
        slot: u32,
        largest: usize,
        make: impl FnOnce(usize, &mut [u8]) -> Option<Transmit>,
    ) -> Sent {
        let sent = self.sockets.transmit(socket, slot, largest, make);
        if sent == Sent::Batch && self.ready.len() == 0 {
            self.sockets.leave();
        }
        sent
    }
}
