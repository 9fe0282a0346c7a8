//! What the connections of a worker share while one of them has its turn: routes, sockets, timers.

use std::sync::Arc;

use tercel_proto::config::TransportConfig;
use tercel_proto::connection::{RouteChange, Shared, Transmit};
use tercel_proto::entropy::Entropy;
use tercel_proto::path::{Ecn, PathAddress};
use tercel_proto::time::Time;
use tercel_wire::ResetToken;

use super::ready::Ready;
use super::timer_wheel::TimerWheel;
use crate::binding::cid_layout::{CidKeys, Issuer};
use crate::binding::listener::ListenerShared;
use crate::binding::routes::Routes;
use crate::binding::sockets::{Sent, Sockets};
use crate::binding::stateless::Resets;
use crate::counters::Counters;
use crate::datapath::SocketId;
use crate::registration::RegistrationShared;

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
    timers: Option<(TimerWheel, Resets)>,
    resets_per_second: u32,
    keys: CidKeys,
    worker: u8,
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
            resets_per_second: registration.config.stateless_resets_per_second,
            keys: registration.cid_keys.clone(),
            worker: worker as u8,
        }
    }

    /// A turn begins.
    pub(super) fn begin(&mut self, now: Time) {
        self.now = now;
    }

    fn timers(&mut self) -> &mut (TimerWheel, Resets) {
        let (now, per_second) = (self.now, self.resets_per_second);
        self.timers.get_or_insert_with(|| (TimerWheel::new(now), Resets::new(per_second, now)))
    }

    /// Readies the connections whose deadline has come.
    pub(super) fn expire(&mut self) {
        let now = self.now;
        self.timers();
        if let Some((wheel, _)) = &mut self.timers {
            wheel.advance(now, |slot| self.ready.push(slot));
        }
    }

    pub(super) fn set_timer(&mut self, slot: u32, deadline: Option<Time>) {
        self.timers().0.set(slot, deadline);
    }

    pub(super) fn next_timer(&mut self) -> Option<Time> {
        self.timers().0.next()
    }

    /// Nothing leads to the slot any more.
    pub(super) fn forget(&mut self, slot: u32, routes: &[RouteChange]) {
        self.timers().0.clear(slot);
        for route in routes {
            let change = match *route {
                RouteChange::Add(id) => RouteChange::Remove(id),
                RouteChange::AddResetToken(token) => RouteChange::RemoveResetToken(token),
                other => other,
            };
            self.routes.apply(slot, change);
        }
    }

    /// What a new connection shares with the others.
    pub(super) fn shared(&mut self, transport: Arc<TransportConfig>) -> Shared {
        let issuer = Box::new(Issuer { keys: self.keys.clone(), worker: self.worker });
        Shared { transport, issuer, entropy: Entropy::from_seed(self.entropy.array()) }
    }

    /// The first listener on `socket` that serves one of `alpn`.
    pub(crate) fn listener_for(&self, socket: SocketId, alpn: &[Vec<u8>]) -> Option<Arc<ListenerShared>> {
        self.sockets.listeners(socket).iter().find(|listener| listener.serves(alpn)).cloned()
    }

    /// The stateless reset with `token` in answer to a datagram of `len` bytes, if one may be sent.
    pub(super) fn stateless_reset(&mut self, token: impl FnOnce() -> ResetToken, len: usize) -> Option<Vec<u8>> {
        let now = self.now;
        self.timers();
        let (_, resets) = self.timers.as_mut()?;
        let reset = resets.answer(now, token, len, &mut self.entropy)?;
        self.counters.resets_sent += 1;
        Some(reset)
    }

    /// Sends an answer that no connection stands behind.
    pub(super) fn answer(&mut self, socket: SocketId, path: PathAddress, contents: &[u8]) {
        let transmit = Transmit { path, ecn: Ecn::NotEct, len: contents.len(), segment_size: None };
        self.sockets.answer(socket, &transmit, contents);
    }

    /// Has a batch made and sends it; see [`Sockets::transmit`].
    pub(crate) fn transmit(
        &mut self,
        socket: SocketId,
        slot: u32,
        make: impl FnOnce(usize, &mut Vec<u8>) -> Option<Transmit>,
    ) -> Sent {
        self.sockets.transmit(socket, slot, make)
    }
}
