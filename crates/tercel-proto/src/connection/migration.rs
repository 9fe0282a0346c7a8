//! Moving between paths (RFC 9000 section 9): the peer's moves, our own, and a server's preferred
//! address.

use std::net::SocketAddr;

use tercel_wire::{Role, SpaceId, TransportErrorCode};

use super::receive::Arrival;
use super::{Connection, Event};
use crate::close::HandshakeState;
use crate::error::{ApiMisuse, Violation};
use crate::path::{AntiAmplification, Path, PathAddress, Validation};
use crate::time::Time;

impl Connection {
    /// The newest packet of the peer came with more than probes: if it came from elsewhere, the
    /// peer is there now (section 9.3).
    pub(super) fn follow_peer(&mut self, arrival: Arrival) {
        let Arrival { now, path: address, datagram_len, .. } = arrival;
        if self.role == Role::Client || self.paths.active.address.is_same(&address) {
            return;
        }
        let amplification = match self.paths.find_mut(&address) {
            Some(known) => known.amplification,
            None => {
                let mut account = AntiAmplification::limited();
                account.on_received(datagram_len);
                account
            }
        };
        self.switch(now, address, amplification);
    }

    /// Makes `address` the active path, and has it validated. The path before is kept, to fall back
    /// to.
    fn switch(&mut self, now: Time, address: PathAddress, amplification: AntiAmplification) {
        let id = self.paths.take_id();
        let old_address = self.paths.active.address;
        // Section 9.4: where only the peer's port changed the path is most likely the same.
        let same_host = self.role == Role::Server && old_address.remote.ip() == address.remote.ip();
        let mut path = Path::new(id, address, &self.config, amplification);
        let max = u16::try_from(self.peer_parameters.max_udp_payload_size).unwrap_or(u16::MAX);
        path.mtu.set_peer_max(max);
        if same_host {
            path.mtu = self.paths.active.mtu.clone();
        }
        path.ecn = self.paths.active.ecn.clone();
        path.ecn.restart();
        path.validation = self.begin_validation(now);
        let mut old = std::mem::replace(&mut self.paths.active, path);
        self.recovery.path_changed(id, self.paths.active.mtu.current(), same_host);
        if !same_host {
            self.one_way.restart();
        }
        if old.amplification.is_validated() {
            // Section 9.3.3: the old path is asked too, in case an attacker copied the packet.
            old.validation = self.begin_validation(now);
            self.paths.previous = Some(old);
        }
        self.paths.candidate.take_if(|candidate| candidate.address.is_same(&address));
        self.peer_ids.rotate();
        self.datagrams.set_limits(None, self.packet_payload());
        self.events.push_back(Event::PathChanged(address));
    }

    fn begin_validation(&self, now: Time) -> Validation {
        let initial = 3 * self.config.initial_rtt;
        Validation::begin(now, self.recovery.pto(SpaceId::Data), initial)
    }

    /// A PATH_RESPONSE came in; from wherever (section 8.2.3).
    pub(super) fn on_path_response(&mut self, now: Time, data: [u8; 8]) {
        if self.paths.active.validation.on_response(data) {
            self.paths.active.amplification = AntiAmplification::Validated;
            self.paths.previous = None;
            self.update_progress(now);
        } else if let Some(previous) = &mut self.paths.previous
            && previous.validation.on_response(data)
        {
            // Both answer for now; the active one decides.
        } else if let Some(mut candidate) = self.paths.candidate.take() {
            match candidate.validation.on_response(data) {
                true => self.promote(now, candidate.address),
                false => self.paths.candidate = Some(candidate),
            }
        }
    }

    /// A path that was probed works: it becomes the active one.
    fn promote(&mut self, now: Time, address: PathAddress) {
        self.switch(now, address, AntiAmplification::Validated);
        self.paths.active.validation = Validation::Done;
        self.paths.previous = None;
    }

    pub(super) fn on_path_timeout(&mut self, now: Time) {
        if self.paths.candidate.as_mut().is_some_and(|path| path.validation.timeout(now)) {
            self.paths.candidate = None;
        }
        if self.paths.previous.as_mut().is_some_and(|path| path.validation.timeout(now)) {
            self.paths.previous = None;
        }
        if self.paths.active.validation.timeout(now) {
            self.on_active_path_failed(now);
        }
    }

    /// Section 9.3.2: back to the path that worked, or, if there is none, the end.
    fn on_active_path_failed(&mut self, now: Time) {
        match self.paths.previous.take() {
            Some(mut previous) => {
                previous.validation = Validation::Done;
                previous.id = self.paths.take_id();
                self.recovery.path_changed(previous.id, previous.mtu.current(), false);
                self.events.push_back(Event::PathChanged(previous.address));
                self.paths.active = previous;
                self.update_progress(now);
            }
            None if self.paths.active.amplification.is_validated() => {}
            None => self.close_for(
                now,
                Violation::new(TransportErrorCode::NO_VIABLE_PATH, "the peer does not answer at its address"),
            ),
        }
    }

    pub(super) fn begin_migration(&mut self, now: Time, address: PathAddress) -> Result<(), ApiMisuse> {
        if self.role == Role::Server {
            return Err(ApiMisuse::WrongRole);
        }
        if !self.phase.is_alive() {
            return Err(ApiMisuse::ConnectionClosed);
        }
        if self.handshake.state != HandshakeState::Confirmed {
            return Err(ApiMisuse::TooEarly);
        }
        if self.peer_parameters.disable_active_migration {
            return Err(ApiMisuse::InvalidArgument("the server does not permit migration"));
        }
        if self.peer_ids.next().is_none() {
            return Err(ApiMisuse::TooEarly);
        }
        self.switch(now, address, AntiAmplification::Validated);
        self.ping_due = true;
        Ok(())
    }

    /// See [`Connection::local_address_changed`].
    pub(super) fn leave_local_address(&mut self, now: Time) {
        if self.role == Role::Client && self.is_confirmed() {
            let remote = self.paths.active.address.remote;
            self.switch(now, PathAddress { remote, local: None }, AntiAmplification::Validated);
            // There is no way back to the old one.
            self.paths.previous = None;
        }
        self.ping_due = true;
    }

    /// Client: the server would rather be reached elsewhere (section 9.6): tries that path, and
    /// moves if it works.
    pub(super) fn probe_preferred_address(&mut self, now: Time) {
        let Some(preferred) = &self.peer_parameters.preferred_address else { return };
        let active = self.paths.active.address;
        let remote = match active.remote {
            SocketAddr::V4(_) => preferred.ipv4.map(SocketAddr::V4),
            SocketAddr::V6(_) => preferred.ipv6.map(SocketAddr::V6),
        };
        let Some(remote) = remote else { return };
        let address = PathAddress { remote, local: None };
        let id = self.paths.take_id();
        let mut candidate = Path::new(id, address, &self.config, AntiAmplification::Validated);
        candidate.validation = self.begin_validation(now);
        self.paths.candidate = Some(candidate);
    }
}
