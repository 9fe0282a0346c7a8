//! A client goes to its server's preferred address (RFC 9000 section 9.6).
//!
//! There may be one for each address family. That of the family in use comes first, for the same socket leads there;
//! the other is tried if there is no such, or nobody answers there, as far as the settings permit and the
//! driver has a local address for it.

use std::net::SocketAddr;

use super::{Connection, Event};
use crate::path::{Intent, PathAddress};
use crate::time::Time;

impl Connection {
    /// Client: the handshake is confirmed. If the server would rather be reached elsewhere, that path is tried, and
    /// taken if it works.
    // RFC 9000 sections 9.6.1#1, 9.6.2#1, 9.6.3#5, 21.5.3#1.
    pub(super) fn set_out_for_preferred_address(&mut self, now: Time) {
        let Some(preferred) = &self.peer_parameters.preferred_address else { return };
        let PathAddress { remote: here, local } = self.paths.active.address;
        let is_near = |goal: &SocketAddr| goal.is_ipv4() == here.is_ipv4();
        // RFC 9000 section 21.5.6#1.
        let may_be = |goal: &SocketAddr| *goal != here && !self.paths.leads_inside(*goal);
        let (near, far): (Vec<_>, Vec<_>) = preferred.addresses().filter(may_be).partition(is_near);
        let far = far.into_iter().filter(|_| self.config.change_family);
        self.paths.goals = near.into_iter().chain(far).collect();
        self.seek_preferred_address(now, local);
    }

    /// Client: on its way to the preferred address, if it is, it goes on from this address of its own; beside whatever
    /// else it tries from there.
    // RFC 9000 section 9.6.3#1.
    pub(super) fn seek_preferred_address(&mut self, now: Time, local: Option<SocketAddr>) {
        let Some(remote) = self.paths.goals.front().copied() else { return };
        match remote.is_ipv4() == self.paths.active.address.remote.is_ipv4() {
            true => self.probe(now, PathAddress { remote, local }, Intent::Move),
            false => self.events.push_back(Event::LocalAddressWanted { remote }),
        }
    }

    /// Client: answers [`Event::LocalAddressWanted`] with an address from which the wanted one can be reached. Does
    /// nothing if none is wanted any more.
    pub fn offer_local_address(&mut self, now: Time, local: SocketAddr) {
        let is_wanted = |goal: &SocketAddr| goal.is_ipv4() == local.is_ipv4();
        let goal = self.paths.goals.front().copied().filter(is_wanted);
        let is_tried = |remote| self.paths.candidates.iter().any(|candidate| candidate.path.address.remote == remote);
        if let Some(remote) = goal.filter(|goal| self.phase.is_alive() && !is_tried(*goal)) {
            self.probe(now, PathAddress { remote, local: Some(local) }, Intent::Move);
        }
    }

    /// Nobody answers at `address`; if it was where the client was to go, there may be another such.
    // RFC 9000 section 9.6.1#3.
    pub(super) fn on_goal_failed(&mut self, now: Time, address: PathAddress) {
        if self.paths.goals.front() == Some(&address.remote) {
            self.paths.goals.pop_front();
            self.seek_preferred_address(now, self.paths.active.address.local);
        }
    }

    /// Whether `remote` is a preferred address of the server.
    pub(super) fn is_preferred(&self, remote: SocketAddr) -> bool {
        let preferred = self.peer_parameters.preferred_address.as_ref();
        preferred.is_some_and(|preferred| preferred.addresses().any(|address| address == remote))
    }

    /// Where the server is reached from a local address: where it is spoken to now, or, from the other family, its
    /// preferred address.
    // RFC 9000 section 9.6.3#5.
    pub(super) fn destination_from(&self, local: SocketAddr) -> Option<SocketAddr> {
        let here = self.paths.active.address.remote;
        if here.is_ipv4() == local.is_ipv4() {
            return Some(here);
        }
        let preferred = self.peer_parameters.preferred_address.as_ref()?;
        let there = preferred.addresses().find(|there| there.is_ipv4() == local.is_ipv4());
        there.filter(|there| self.config.change_family && !self.paths.leads_inside(*there))
    }
}
