//! A client with several local addresses (RFC 9000 section 9): paths from those beside the one in use are probed and
//! held ready, and when the one in use fails the connection goes on from another by itself.
//!
//! It has failed when the system sends nothing from there, when its address is taken away, or when the server has not
//! answered several probe timeouts. Who only receives may wait for a peer that has been cut off; so a peer that
//! falls silent is asked once whether it is there.

use std::net::SocketAddr;

use tercel_wire::{Role, SpaceId};

use super::frames::Digest;
use super::receive::Arrival;
use super::{Connection, Event};
use crate::error::ApiMisuse;
use crate::path::{AntiAmplification, Intent, Path, PathAddress, Validation};
use crate::time::Time;

/// After so many probe timeouts without an answer a path has failed: seven times the probe timeout.
const SILENT_AFTER: u32 = 3;

/// After so many probe timeouts of silence the peer is asked whether it is there.
const ASKED_AFTER: u32 = 3;

impl Connection {
    /// Client: this end can also be spoken to at `local`. As soon as the handshake is confirmed and the ends have
    /// connection IDs to spare, a path from there is probed ([`Event::PathValidated`], [`Event::PathFailed`]) and held
    /// ready; when the one in use fails, the connection goes on by it ([`Event::PathFailed`],
    /// [`Event::PathChanged`]). An address from which there is no answer is tried again from time to time. One of the other
    /// family serves where the server has a preferred address of that.
    ///
    /// The address that is left because it has failed stays one of the connection's. After
    /// [`migrate`](Self::migrate), [`probe_path`](Self::probe_path) and
    /// [`local_address_changed`](Self::local_address_changed) the new one has its place.
    ///
    /// # Errors
    /// [`ApiMisuse::AlreadyDone`]: it is one of them; [`ApiMisuse::InvalidArgument`]: there would be more than
    /// [`MAX_LOCAL_ADDRESSES`](crate::path::MAX_LOCAL_ADDRESSES), the server forbids migration, or uses no connection
    /// IDs; [`ApiMisuse::WrongRole`]: this is a server; [`ApiMisuse::ConnectionClosed`].
    pub fn add_local_address(&mut self, now: Time, local: SocketAddr) -> Result<(), ApiMisuse> {
        match self.check_migration() {
            Ok(()) | Err(ApiMisuse::TooEarly) => {}
            Err(error) => return Err(error),
        }
        // RFC 9000 section 9.5#3.
        if self.peer_ids.is_empty() {
            return Err(ApiMisuse::InvalidArgument("the server uses no connection IDs that would tell paths apart"));
        }
        if self.paths.active.address.local == Some(local) {
            return Err(ApiMisuse::AlreadyDone);
        }
        self.paths.locals.add(now, local)?;
        self.tend_locals(now);
        Ok(())
    }

    /// Client: this end cannot be spoken to at `local` any more. If that is in use the connection goes on from another.
    ///
    /// # Errors
    /// [`ApiMisuse::InvalidArgument`]: it is none of the connection's addresses, or the only one, or the server forbids
    /// migration; [`ApiMisuse::TooEarly`]: it is in use, and the connection cannot move yet, as by
    /// [`migrate`](Self::migrate); [`ApiMisuse::WrongRole`]: this is a server; [`ApiMisuse::ConnectionClosed`].
    pub fn remove_local_address(&mut self, now: Time, local: SocketAddr) -> Result<(), ApiMisuse> {
        if self.role == Role::Server {
            return Err(ApiMisuse::WrongRole);
        }
        if self.paths.active.address.local == Some(local) {
            if self.paths.locals.is_empty() {
                return Err(ApiMisuse::InvalidArgument("there is no other local address to go on from"));
            }
            self.check_migration()?;
            // One that rests is better than one that is gone.
            let path = self.next_path(None).ok_or(ApiMisuse::TooEarly)?;
            self.go_on_by(now, path);
        } else if !self.paths.locals.remove(local) {
            return Err(ApiMisuse::InvalidArgument("the connection has no such local address"));
        }
        let is_gone = |path: &Path| path.address.local == Some(local);
        self.give_up(|candidate| is_gone(&candidate.path));
        if self.paths.previous.as_deref().is_some_and(is_gone) {
            self.give_up_previous();
        }
        Ok(())
    }

    /// Client: its addresses, that of the path in use first, if it is known.
    pub fn local_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.paths.active.address.local.into_iter().chain(self.paths.locals.iter())
    }

    /// Client: the system says that nothing can be sent on this path: a client goes on from another
    /// [local address](Self::add_local_address) at once, if it has one that works. Not to be called for what merely
    /// cannot be sent now, or is too large.
    pub fn send_failed(&mut self, now: Time, address: PathAddress) {
        if self.role == Role::Client && self.phase.is_alive() {
            self.on_send_failed(now, address);
            self.tend_locals(now);
        }
    }

    /// Client: goes on from another local address if the one in use has failed, and probes those that are to be held
    /// ready: one after the other, and so that both ends keep a connection ID for a move elsewhere (section 5.1.1).
    pub(super) fn tend_locals(&mut self, now: Time) {
        if self.check_migration().is_err() || self.paths.locals.is_empty() {
            return;
        }
        if self.paths.is_cut || self.recovery.pto_count() >= SILENT_AFTER {
            self.fail_over(now);
        }
        let is_probed = |path: &Path| matches!(path.validation, Validation::Pending { .. });
        if self.paths.candidates.iter().any(|candidate| is_probed(&candidate.path))
            || self.peer_ids.spares() < 2
            || !self.local_ids.peer_has_unused(self.paths.claimed() + 1)
        {
            return;
        }
        if let Some(address) = self.untried(Some(now)) {
            self.probe(now, address, Intent::Wait);
        }
    }

    /// The path from the first local address that has none and may be tried at `now`, or at all.
    fn untried(&self, now: Option<Time>) -> Option<PathAddress> {
        let is_free = |local| {
            self.destination_from(local).is_some() && !self.paths.iter().any(|path| path.address.local == Some(local))
        };
        let local = self.paths.locals.first_due(now, is_free)?;
        Some(PathAddress { remote: self.destination_from(local)?, local: Some(local) })
    }

    fn fail_over(&mut self, now: Time) {
        let failed = self.paths.active.address;
        let Some(path) = self.next_path(Some(now)) else { return };
        if let (Some(here), Some(there)) = (failed.local, path.address.local) {
            self.paths.locals.exchange(now, here, there);
        }
        self.events.push_back(Event::PathFailed(failed));
        self.go_on_by(now, path);
    }

    /// The path to go on by when the active one has failed: one that is held ready, else one from an address that was not
    /// tried yet, else none.
    fn next_path(&mut self, now: Option<Time>) -> Option<Path> {
        let is_ready = |path: &mut Path| path.validation == Validation::Done;
        if let Some(at) = self.paths.candidates.iter_mut().position(|candidate| is_ready(&mut candidate.path)) {
            return Some(self.paths.candidates.remove(at).path);
        }
        self.check_other_path().ok()?;
        let address = self.untried(now)?;
        self.paths.claim();
        Some(self.take_path(address, AntiAmplification::Validated, 0))
    }

    fn go_on_by(&mut self, now: Time, path: Path) {
        let is_validated = path.validation == Validation::Done;
        let local = path.address.local;
        self.give_up(|candidate| candidate.intent == Intent::Move);
        self.paths.locals.take(local);
        self.switch(now, path);
        if is_validated {
            self.give_up_previous();
        }
        // What was under way on the old path is found out to be lost by what is acknowledged on this one.
        self.ping_due = true;
        self.seek_preferred_address(now, local);
    }

    /// Client: the server's newest packet came. Unless more comes after one that is to be acknowledged, it may have been
    /// the last for long.
    #[cold]
    pub(super) fn note_heard(&mut self, arrival: &Arrival, digest: Digest) {
        if !self.paths.active.address.is_same(&arrival.path) {
            return;
        }
        self.paths.is_cut = false;
        if digest.ack_eliciting {
            let ask_at = arrival.now + ASKED_AFTER * self.recovery.pto(SpaceId::Data);
            self.paths.locals.on_heard(ask_at);
        }
    }

    /// Client: asks the peer whether it is there, if it has fallen silent and nothing is under way that tells.
    pub(super) fn ask_peer(&mut self, now: Time) {
        self.ping_due |= self.paths.locals.asks(now) && self.recovery.bytes_in_flight() == 0;
    }
}
