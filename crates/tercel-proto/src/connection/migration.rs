//! Moving between paths (RFC 9000 section 9): the peer's moves and our own. Where a client goes by itself say
//! `preferred` (a server's preferred address) and `failover` (when the path in use fails).

use std::net::SocketAddr;

use tercel_wire::{ConnectionId, Role, SpaceId, TransportErrorCode};

use super::frames::Digest;
use super::receive::Arrival;
use super::{Connection, Event};
use crate::close::HandshakeState;
use crate::error::{ApiMisuse, CloseReason, Violation};
use crate::path::{Answer, AntiAmplification, Candidate, Intent, Path, PathAddress, Proof, Validation};
use crate::time::Time;

/// How many paths a server holds ready for its client.
const MAX_READY: usize = 2;

impl Connection {
    /// The newest packet of the peer came with more than probes, to `dcid`: if it came from elsewhere, the
    /// peer is there now (section 9.3).
    // RFC 9000 sections 9#3, 9.3#1.
    #[inline]
    pub(super) fn follow_peer(&mut self, arrival: &Arrival, dcid: ConnectionId, digest: Digest) {
        if self.role == Role::Client || self.paths.active.address.is_same(&arrival.path) {
            self.paths.heard_at = Some(dcid);
            if !self.paths.locals.is_empty() {
                self.note_heard(arrival, digest);
            }
        } else {
            self.follow_elsewhere(arrival, dcid);
        }
    }

    #[cold]
    fn follow_elsewhere(&mut self, arrival: &Arrival, dcid: ConnectionId) {
        let known = self.paths.find_mut(&arrival.path).map(|path| (path.id, path.validation == Validation::Done));
        // RFC 9000 section 9.6.2#2: from another address of ours only once it is known that the peer hears that.
        if self.is_elsewhere(&arrival.path) && !known.is_some_and(|(_, validated)| validated) {
            return self.ask_back(arrival, Intent::Move);
        }
        // RFC 9000 section 9.5#2: a peer that took another connection ID gets another. If it gave us none it cannot be
        // followed: only to who kept its own may we go on with ours, and who has used up those of its peer cannot "respond
        // to probes or attempts by its peer to migrate" (section 9.5; section 5.1.1 says so to who moves). It may bring
        // one along, as section 9.5 advises: frames are read before we come here.
        let has_kept_its_own = self.paths.heard_at == Some(dcid);
        let has_id = known.is_some_and(|(id, _)| self.peer_ids.of(id).is_some()) || self.peer_ids.has_spare();
        if !(has_kept_its_own || has_id) {
            return;
        }
        self.paths.heard_at = Some(dcid);
        // RFC 9000 sections 9.3#2, 9.6.3#3.
        let path = self.take_path(arrival.path, AntiAmplification::limited(), arrival.datagram_len);
        self.switch(arrival.now, path);
    }

    /// Whether a path leads to another address of ours than the active one.
    fn is_elsewhere(&self, path: &PathAddress) -> bool {
        matches!((self.paths.active.address.local, path.local), (Some(here), Some(there)) if here != there)
    }

    /// The peer probes from an address, or to one, that we do not know yet (section 9.1).
    pub(super) fn on_probe(&mut self, arrival: &Arrival) {
        if self.role == Role::Server && self.paths.find_mut(&arrival.path).is_none() {
            self.ask_back(arrival, Intent::Wait);
        }
    }

    /// Server: the path that the client speaks to us on beside the active one gets a connection ID of its own, and is
    /// validated.
    // RFC 9000 sections 9.6.2#3, 9.6.3#4.
    fn ask_back(&mut self, arrival: &Arrival, intent: Intent) {
        let mut candidates = self.paths.candidates.iter_mut();
        if let Some(candidate) = candidates.find(|candidate| candidate.path.address.is_same(&arrival.path)) {
            candidate.intent = intent;
            return;
        }
        // The oldest makes room: the client may come there all the same, and is asked again.
        let has_room = self.paths.candidates.len() < MAX_READY && self.peer_ids.has_spare();
        if !has_room && !self.paths.candidates.is_empty() {
            let oldest = self.paths.candidates.remove(0);
            self.peer_ids.release(oldest.path.id);
        }
        let mut path = self.take_path(arrival.path, AntiAmplification::limited(), arrival.datagram_len);
        if self.peer_ids.assign(path.id) {
            path.validation = self.begin_validation(arrival.now);
            self.paths.candidates.push(Candidate { path, intent });
        }
    }

    /// The path of this address: the one that is known, taken out of its place, or a new one, from which a
    /// datagram of `received` bytes has come.
    pub(super) fn take_path(&mut self, address: PathAddress, account: AntiAmplification, received: usize) -> Path {
        let paths = &mut self.paths;
        if let Some(path) = paths.take(|path| path.address.is_same(&address)) {
            return Path { address, ..path };
        }
        let mut path = Path::new(paths.take_id(), address, &self.config, account);
        path.on_received(received);
        let max = u16::try_from(self.peer_parameters.max_udp_payload_size).unwrap_or(u16::MAX);
        path.mtu.set_peer_max(max);
        path
    }

    /// Gives up the paths beside the active one of which `is_done` is true.
    pub(super) fn give_up(&mut self, mut is_done: impl FnMut(&Candidate) -> bool) {
        for candidate in self.paths.candidates.extract_if(.., |candidate| is_done(candidate)) {
            self.peer_ids.release(candidate.path.id);
        }
    }

    /// Those that were on their way to become the active one.
    fn give_up_moves(&mut self) {
        self.give_up(|candidate| candidate.intent == Intent::Move);
    }

    /// Server: the client has done with a connection ID, as it has when it is done with a path. Paths that were only held
    /// ready for it give up theirs, so that there is one for where it goes next (section 5.1.1); it may come there all
    /// the same, and is asked again. Where it says so it is about to be.
    pub(super) fn on_peer_retired(&mut self, at: PathAddress) {
        if self.role == Role::Server {
            self.give_up(|candidate| {
                candidate.intent == Intent::Wait
                    && !matches!(candidate.path.validation, Validation::Pending { .. })
                    && !candidate.path.address.is_same(&at)
            });
        }
    }

    pub(super) fn give_up_previous(&mut self) {
        if let Some(path) = self.paths.previous.take() {
            self.peer_ids.release(path.id);
        }
    }

    /// Makes `path` the active one, and has it validated unless it is. The path before is kept, to fall
    /// back to.
    pub(super) fn switch(&mut self, now: Time, mut path: Path) {
        let (id, address) = (path.id, path.address);
        let old_address = self.paths.active.address;
        // Section 9.4: where only the peer's port changed the path is most likely the same.
        let elsewhere = self.is_elsewhere(&address);
        let same_host = self.role == Role::Server && !elsewhere && old_address.remote.ip() == address.remote.ip();
        if same_host {
            path.mtu = self.paths.active.mtu.clone();
        }
        path.ecn = self.paths.active.ecn.clone();
        path.ecn.restart();
        // RFC 9000 section 9#4.
        if !matches!(path.validation, Validation::Done | Validation::Pending { .. }) {
            path.validation = self.begin_validation(now);
        }
        if old_address.remote != address.remote {
            self.paths.left = Some(Box::new(old_address.remote));
        }
        if self.role == Role::Server && elsewhere && self.paths.left_local.is_none() {
            let largest = self.spaces.data.numbers.received.largest();
            self.paths.left_local = old_address.local.zip(largest).map(Box::new);
        }
        let is_validated = path.validation == Validation::Done;
        self.paths.is_cut = false;
        self.peer_ids.activate(id);
        let mut old = std::mem::replace(&mut self.paths.active, path);
        // The peer may have forgotten when we come back.
        old.proof = Proof::Unknown;
        self.recovery.path_changed(id, self.paths.active.mtu.current(), same_host);
        if !same_host {
            self.one_way.restart();
            self.handshake.told_window = 0;
        }
        // Whom a client may send to it has chosen itself; whether that works it knows by validation only.
        let is_known_to_work = match self.role {
            Role::Server => old.amplification.is_validated(),
            Role::Client => matches!(old.validation, Validation::Idle | Validation::Done),
        };
        // A client that finds a path that works means to go there; of a server's client that may be an attacker's doing.
        if is_validated && self.role == Role::Client || !is_known_to_work {
            self.peer_ids.release(old.id);
        } else {
            // Section 9.3.3: the old path is asked too, in case an attacker copied the packet.
            // RFC 9000 section 9.3.3#1.
            old.validation = self.begin_validation(now);
            self.give_up_previous();
            self.paths.previous = Some(Box::new(old));
        }
        if self.role == Role::Client {
            self.paths.begin_credit(now, self.recovery.pto(SpaceId::Data));
        }
        self.datagrams.set_limits(None, self.packet_payload());
        self.events.push_back(Event::PathChanged(address));
        self.update_progress(now);
    }

    fn begin_validation(&self, now: Time) -> Validation {
        let initial = 3 * self.config.initial_rtt;
        Validation::begin(now, self.recovery.pto(SpaceId::Data), initial)
    }

    // RFC 9000 section 8.2.2#4.
    /// A PATH_RESPONSE came in; from wherever (section 8.2.3).
    // RFC 9002 section 6.2.2#2: its time is no sample.
    pub(super) fn on_path_response(&mut self, now: Time, data: [u8; 8]) {
        let again = self.begin_validation(now);
        if let Some(answer) = self.paths.active.validation.on_response(data, &again) {
            self.paths.active.amplification = AntiAmplification::Validated;
            if answer == Answer::Path {
                self.give_up_previous();
                self.events.push_back(Event::PathValidated(self.paths.active.address));
            }
            self.update_progress(now);
            return;
        }
        if let Some(previous) = &mut self.paths.previous
            && previous.validation.on_response(data, &again).is_some()
        {
            // Both answer for now; the active one decides.
            if self.paths.active.validation == Validation::Done {
                self.give_up_previous();
            }
            return;
        }
        let answers = |candidate: &mut Candidate| candidate.path.validation.on_response(data, &again).is_some();
        let Some(at) = self.paths.candidates.iter_mut().position(answers) else { return };
        let Some(candidate) = self.paths.candidates.get_mut(at) else { return };
        candidate.path.amplification = AntiAmplification::Validated;
        let (intent, address) = (candidate.intent, candidate.path.address);
        self.events.push_back(Event::PathValidated(address));
        match intent {
            Intent::Wait => address.local.into_iter().for_each(|local| self.paths.locals.works(local)),
            Intent::Move => {
                let path = self.paths.candidates.remove(at).path;
                self.arrive(now, path);
            }
        }
    }

    /// A path that was probed works: it becomes the active one.
    // RFC 9000 section 9.6.1#2.
    fn arrive(&mut self, now: Time, path: Path) {
        // RFC 9000 section 9.6.3#2: nothing else is tried any more.
        if self.is_preferred(path.address.remote) {
            self.paths.goals.clear();
            self.give_up(|_| true);
        }
        // It takes the place of the one that is left.
        self.paths.locals.take(path.address.local);
        self.switch(now, path);
        if self.role == Role::Client {
            self.give_up_previous();
        }
    }

    pub(super) fn on_path_timeout(&mut self, now: Time) {
        let failed = |candidate: &mut Candidate| candidate.path.validation.timeout(now);
        while let Some(at) = self.paths.candidates.iter_mut().position(failed) {
            let candidate = self.paths.candidates.remove(at);
            self.on_candidate_failed(now, &candidate);
        }
        // As long as nobody has answered at the active one, it is the last that is known to have worked.
        if self.paths.previous.as_mut().is_some_and(|path| path.validation.timeout(now))
            && self.paths.active.validation == Validation::Done
        {
            self.give_up_previous();
        }
        if self.paths.active.validation.timeout(now) {
            self.on_active_path_failed(now);
        }
        self.paths.credit_timeout(now, self.recovery.pto(SpaceId::Data));
    }

    /// Nobody answers where the path leads.
    fn on_candidate_failed(&mut self, now: Time, candidate: &Candidate) {
        let Candidate { path, intent } = candidate;
        self.peer_ids.release(path.id);
        // What a server has asked of its own accord it has not told of.
        if self.role == Role::Client || *intent == Intent::Move {
            self.events.push_back(Event::PathFailed(path.address));
        }
        match (intent, path.address.local) {
            (Intent::Move, _) => self.on_goal_failed(now, path.address),
            (Intent::Wait, Some(local)) => self.paths.locals.failed(now, local),
            (Intent::Wait, None) => {}
        }
    }

    /// The system sends nothing on this path.
    pub(super) fn on_send_failed(&mut self, now: Time, address: PathAddress) {
        if self.paths.active.address.is_same(&address) {
            self.paths.is_cut = true;
        } else if let Some(at) =
            self.paths.candidates.iter().position(|candidate| candidate.path.address.is_same(&address))
        {
            let candidate = self.paths.candidates.remove(at);
            self.on_candidate_failed(now, &candidate);
        }
    }

    /// Section 9.3.2: back to the path that worked, or, if there is none, the end.
    // RFC 9000 section 9.3.2#1.
    fn on_active_path_failed(&mut self, now: Time) {
        let failed = self.paths.active.address;
        match self.paths.previous.take() {
            Some(mut previous) => {
                previous.validation = Validation::Done;
                // Its packets of before are not to be measured.
                let before = std::mem::replace(&mut previous.id, self.paths.take_id());
                self.peer_ids.rename(before, previous.id);
                self.peer_ids.activate(previous.id);
                self.recovery.path_changed(previous.id, previous.mtu.current(), false);
                self.paths.is_cut = false;
                if let (Some(back), Some(failed)) = (previous.address.local, failed.local) {
                    self.paths.locals.exchange(now, failed, back);
                }
                let gone = std::mem::replace(&mut self.paths.active, *previous);
                self.peer_ids.release(gone.id);
                self.datagrams.set_limits(None, self.packet_payload());
                self.events.push_back(Event::PathFailed(failed));
                self.events.push_back(Event::PathChanged(self.paths.active.address));
                self.update_progress(now);
            }
            None if self.paths.active.amplification.is_validated() => {
                self.events.push_back(Event::PathFailed(failed));
            }
            // RFC 9000 section 9.3.2#2: without a word, since nobody is known to be there.
            None => self.end(CloseReason::Violation(Violation::new(
                TransportErrorCode::NO_VIABLE_PATH,
                "the peer does not answer at its address",
            ))),
        }
    }

    /// Whether this end may move to another path now (section 9.2).
    // RFC 9000 section 9#1#2.
    pub(super) fn check_migration(&self) -> Result<(), ApiMisuse> {
        if self.role == Role::Server {
            return Err(ApiMisuse::WrongRole);
        }
        if !self.phase.is_alive() {
            return Err(ApiMisuse::ConnectionClosed);
        }
        if self.handshake.state != HandshakeState::Confirmed {
            return Err(ApiMisuse::TooEarly);
        }
        // RFC 9000 section 18.2#3.
        match self.settled() {
            true => Err(ApiMisuse::InvalidArgument("the server does not permit migration")),
            false => Ok(()),
        }
    }

    /// The same, and section 9.5: another path gets other connection IDs, in both directions, so there must be some.
    // RFC 9000 sections 5.1.1#7, 9.5#1.
    pub(super) fn check_other_path(&self) -> Result<(), ApiMisuse> {
        self.check_migration()?;
        // RFC 9000 section 9.5#3.
        if self.peer_ids.is_empty() {
            return Err(ApiMisuse::InvalidArgument("the server uses no connection IDs that would tell paths apart"));
        }
        match self.peer_ids.has_spare() && self.local_ids.peer_has_unused(self.paths.claimed()) {
            true => Ok(()),
            false => Err(ApiMisuse::TooEarly),
        }
    }

    /// Whether the peer forbids migration. Section 18.2: that is said of the address of the handshake, not
    /// of the preferred one.
    pub(super) fn settled(&self) -> bool {
        self.peer_parameters.disable_active_migration && !self.is_preferred(self.paths.active.address.remote)
    }

    pub(super) fn begin_migration(&mut self, now: Time, address: PathAddress) -> Result<(), ApiMisuse> {
        self.check_other_path()?;
        let path = self.take_path(address, AntiAmplification::Validated, 0);
        self.paths.claim();
        self.give_up_moves();
        self.paths.locals.take(address.local);
        self.switch(now, path);
        self.ping_due = true;
        self.seek_preferred_address(now, address.local);
        Ok(())
    }

    /// See [`Connection::probe_path`].
    pub(super) fn begin_probing(&mut self, now: Time, address: PathAddress) -> Result<(), ApiMisuse> {
        self.check_other_path()?;
        self.give_up_moves();
        self.probe(now, address, Intent::Move);
        self.seek_preferred_address(now, address.local);
        Ok(())
    }

    pub(super) fn probe(&mut self, now: Time, address: PathAddress, intent: Intent) {
        let mut path = self.take_path(address, AntiAmplification::Validated, 0);
        if self.peer_ids.assign(path.id) {
            path.validation = self.begin_validation(now);
            self.paths.claim();
            self.paths.candidates.push(Candidate { path, intent });
        }
    }

    /// See [`Connection::local_address_changed`].
    pub(super) fn leave_local_address(&mut self, now: Time, local: Option<SocketAddr>) -> Result<(), ApiMisuse> {
        self.check_other_path()?;
        let remote = self.paths.active.address.remote;
        let id = self.paths.take_id();
        self.paths.claim();
        let mut path = Path::new(id, PathAddress { remote, local }, &self.config, AntiAmplification::Validated);
        path.mtu.set_peer_max(u16::try_from(self.peer_parameters.max_udp_payload_size).unwrap_or(u16::MAX));
        self.give_up_moves();
        self.paths.locals.take(local);
        self.switch(now, path);
        // There is no way back to the old one.
        self.give_up_previous();
        self.ping_due = true;
        self.seek_preferred_address(now, local);
        Ok(())
    }
}
