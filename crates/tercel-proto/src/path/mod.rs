//! Paths (RFC 9000 sections 8, 9, 13.4, 14).
//!
//! One path is active. Beside it there may be the one before, to fall back to if the active one
//! proves not to work, and those that are being probed, by us or by the peer. Datagrams that come in enter
//! by [`Paths::on_datagram`]; the wiring in `connection/migration` decides what a new address means. The
//! peer's connection IDs belong to paths by their numbers ([`PeerIds`](crate::cid::PeerIds)).

mod amplification;
mod credit;
mod ecn;
mod locals;
pub mod mtu;
mod observed;
mod validation;

use std::net::SocketAddr;
use std::time::Duration;

pub use amplification::AntiAmplification;
pub use credit::{Credit, Proof};
pub use ecn::EcnValidation;
pub use locals::{LocalAddresses, MAX_LOCAL_ADDRESSES};
pub use mtu::Mtu;
pub use observed::{AddressReports, Heard, Report};
pub use validation::{Answer, ChallengeSize, Validation};

use tercel_wire::ConnectionId;

use crate::config::{CongestionAlgorithm, TransportConfig};
use crate::frames::FrameSink;
use crate::rare_queue::RareQueue;
use crate::time::Time;

/// Between which addresses datagrams go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathAddress {
    /// The peer's address.
    pub remote: SocketAddr,
    /// This end's address, where it is known. A server with a preferred address has two (RFC 9000
    /// section 9.6).
    pub local: Option<SocketAddr>,
}

impl PathAddress {
    /// Whether both mean the same path, as far as is known.
    #[inline]
    pub fn is_same(&self, other: &Self) -> bool {
        let local = match (self.local, other.local) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        self.remote == other.remote && local
    }
}

/// An ECN codepoint (RFC 3168).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Ecn {
    /// Not ECN-capable.
    #[default]
    NotEct,
    /// ECT(1).
    Ect1,
    /// ECT(0).
    Ect0,
    /// Congestion experienced.
    Ce,
}

/// What is known of a path.
#[derive(Debug, Clone)]
pub struct Path {
    /// Tells it from other paths of the connection.
    pub id: u32,
    /// Its addresses.
    pub address: PathAddress,
    /// How much may be sent to it.
    pub amplification: AntiAmplification,
    /// Whether the peer is known to be there.
    pub validation: Validation,
    /// Its datagram size.
    pub mtu: Mtu,
    /// Its ECN state.
    pub ecn: EcnValidation,
    /// Whether the peer knows at which address it is seen on it.
    pub report: Report,
    /// At which address the peer sees us on it.
    pub heard: Heard,
    /// Whether the server is known to have validated our address on it.
    pub proof: Proof,
    /// UDP payload bytes sent to it.
    pub bytes_sent: u64,
    /// UDP payload bytes received from it.
    pub bytes_received: u64,
}

impl Path {
    /// A path to an address that nothing is known of.
    pub fn new(id: u32, address: PathAddress, config: &TransportConfig, amplification: AntiAmplification) -> Self {
        Self {
            id,
            address,
            amplification,
            validation: Validation::Idle,
            mtu: Mtu::new(config.initial_mtu, config.max_mtu),
            ecn: EcnValidation::new(config.ecn.then_some(match config.congestion {
                // RFC 9331 section 4.1: by ECT(1) a sender says that it answers as L4S wants.
                CongestionAlgorithm::Prague => Ecn::Ect1,
                _ => Ecn::Ect0,
            })),
            report: Report::Due,
            heard: Heard::default(),
            proof: Proof::Unknown,
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    /// A datagram of `len` bytes goes there.
    pub const fn on_sent(&mut self, len: usize) {
        self.amplification.on_sent(len);
        self.bytes_sent += len as u64;
    }

    /// A datagram of `len` bytes came from there.
    pub const fn on_received(&mut self, len: usize) {
        self.amplification.on_received(len);
        self.bytes_received += len as u64;
    }
}

/// A path that is probed before it is used.
#[derive(Debug)]
pub struct Candidate {
    /// The path.
    pub path: Path,
    /// What becomes of it.
    pub intent: Intent,
}

/// What becomes of a path that is probed once it is validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// It is in readiness: at a server for when the peer comes there, at a client for when the active one fails.
    Wait,
    /// It becomes the active one.
    Move,
}

/// A PATH_RESPONSE that is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// Where the challenge came from, and the response goes to.
    pub address: PathAddress,
    /// The data of the challenge.
    pub data: [u8; 8],
    /// How large a datagram may be that carries it to an address that is not validated.
    pub budget: usize,
    /// The connection ID of ours that the challenge was sent to.
    pub asked_at: ConnectionId,
}

/// So many responses may be owed at once; a peer that challenges faster loses the oldest.
const MAX_RESPONSES: usize = 4;

/// The paths of a connection.
#[derive(Debug)]
pub struct Paths {
    /// The one in use.
    pub active: Path,
    /// The one before, if it was validated, while the active one is not.
    pub previous: Option<Box<Path>>,
    /// Those that are probed before they are used, or are held ready.
    pub candidates: Vec<Candidate>,
    /// Client: the server's preferred addresses that are still to be gone to, that which is tried first in front.
    pub goals: RareQueue<SocketAddr>,
    /// Client: its addresses beside that of the active path.
    pub locals: LocalAddresses,
    /// Client: whether the system says that nothing can be sent on the active path.
    pub is_cut: bool,
    /// What the peer is told of its addresses.
    pub reports: AddressReports,
    /// Client: where the server was before, if it is reached elsewhere now. Some go on to answer from there.
    pub left: Option<Box<SocketAddr>>,
    /// Client: how many paths it has tried since it last awaited no answer.
    unanswered: usize,
    /// Server: its address of the handshake, if it has left that for its preferred one, and the largest packet number
    /// that was received until then.
    pub left_local: Option<Box<(SocketAddr, u64)>>,
    /// The connection ID of ours that the peer's last packet with more than probes on the active path was sent to.
    pub heard_at: Option<ConnectionId>,
    responses: RareQueue<Response>,
    next_id: u32,
}

impl Paths {
    /// The path of the handshake.
    pub fn new(active: Path) -> Self {
        let next_id = active.id + 1;
        Self {
            active,
            previous: None,
            candidates: Vec::new(),
            goals: RareQueue::new(),
            locals: LocalAddresses::default(),
            is_cut: false,
            reports: AddressReports::default(),
            left: None,
            unanswered: 0,
            left_local: None,
            heard_at: None,
            responses: RareQueue::new(),
            next_id,
        }
    }

    /// An ID for another path.
    pub const fn take_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// A datagram of `len` bytes came from `address`: credits the account of its path.
    pub fn on_datagram(&mut self, address: &PathAddress, len: usize) {
        if let Some(path) = self.find_mut(address) {
            path.on_received(len);
        }
    }

    /// Every path.
    pub fn iter(&self) -> impl Iterator<Item = &Path> {
        let candidates = self.candidates.iter().map(|candidate| &candidate.path);
        std::iter::once(&self.active).chain(self.previous.as_deref()).chain(candidates)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Path> {
        let candidates = self.candidates.iter_mut().map(|candidate| &mut candidate.path);
        std::iter::once(&mut self.active).chain(self.previous.as_deref_mut()).chain(candidates)
    }

    /// The path with this address, if it is known.
    pub fn find_mut(&mut self, address: &PathAddress) -> Option<&mut Path> {
        self.iter_mut().find(|path| path.address.is_same(address))
    }

    /// Takes the path of which `is_it` is true out of its place, if it is not the active one.
    pub fn take(&mut self, mut is_it: impl FnMut(&mut Path) -> bool) -> Option<Path> {
        let candidate = self.candidates.iter_mut().position(|candidate| is_it(&mut candidate.path));
        let candidate = candidate.map(|at| self.candidates.remove(at).path);
        candidate.or_else(|| self.previous.take_if(|path| is_it(path)).map(|path| *path))
    }

    /// For how many paths that it has tried the server may still take a connection ID of its own: for none once nothing
    /// awaits an answer, whatever became of them.
    pub fn claimed(&self) -> usize {
        let mut tried = std::iter::once(&self.active).chain(self.candidates.iter().map(|candidate| &candidate.path));
        let awaits = tried.any(|path| matches!(path.validation, Validation::Pending { .. }));
        if awaits { self.unanswered } else { 0 }
    }

    /// Another path is about to be tried.
    pub fn claim(&mut self) {
        self.unanswered = self.claimed() + 1;
    }

    /// Whether a packet with `number` to an address of ours is newer than what is taken there, because we have
    /// left it for the preferred address.
    // RFC 9000 section 9.6.2#4.
    pub fn is_too_new_for(&self, local: Option<SocketAddr>, number: u64) -> bool {
        self.left_local.as_deref().is_some_and(|(left, largest)| local == Some(*left) && number > *largest)
    }

    /// Whether `remote` is a loopback address, which no path leads to from one that is not.
    // RFC 9000 section 21.5.6#1.
    pub fn leads_inside(&self, remote: SocketAddr) -> bool {
        let is_loopback = |address: SocketAddr| address.ip().to_canonical().is_loopback();
        is_loopback(remote) && !is_loopback(self.active.address.remote)
    }

    /// Whether datagrams from `remote` can belong to one of the paths.
    pub fn is_known_remote(&self, remote: SocketAddr) -> bool {
        self.left.as_deref() == Some(&remote) || self.iter().any(|path| path.address.remote == remote)
    }

    /// Whether the peer is to be told at which address it is seen on the active path.
    pub fn owes_report(&self) -> bool {
        self.reports.is_due(&self.active)
    }

    /// Writes OBSERVED_ADDRESS for the active path if due.
    pub fn write_report(&mut self, sink: &mut FrameSink<'_, '_>) {
        self.reports.write(&mut self.active, sink);
    }

    /// OBSERVED_ADDRESS was acknowledged, or lost. The draft: it is repeated on the path that it is about.
    pub fn report_settled(&mut self, sequence: u64, acked: bool) {
        let about = self.iter_mut().find(|path| path.report == Report::Sent { sequence });
        if let Some(path) = about {
            path.report = if acked { Report::Known } else { Report::Due };
        }
    }

    /// Client: it has moved to the active path now.
    pub fn begin_credit(&mut self, now: Time, pto: Duration) {
        let path = &mut self.active;
        if !matches!(path.proof, Proof::Known) {
            path.proof = Proof::Awaited(Box::new(Credit::begin(now, pto, path.bytes_received)));
        }
    }

    /// Whether the server may need credit on the active path.
    pub fn owes_credit(&self) -> bool {
        matches!(&self.active.proof, Proof::Awaited(credit) if credit.is_owed())
    }

    /// It is given.
    pub fn credit_given(&mut self, now: Time, pto: Duration) {
        if let Proof::Awaited(credit) = &mut self.active.proof
            && !credit.give(now, pto)
        {
            self.active.proof = Proof::Unknown;
        }
    }

    /// Time has passed.
    pub fn credit_timeout(&mut self, now: Time, pto: Duration) {
        if let Proof::Awaited(credit) = &mut self.active.proof {
            credit.timeout(now, pto, self.active.bytes_received);
        }
    }

    /// The response that went out on the path with this number has arrived: the peer has validated our address there.
    pub fn proved(&mut self, id: u32) {
        if let Some(path) = self.iter_mut().find(|path| path.id == id) {
            path.proof = Proof::Known;
        }
    }

    /// A PATH_CHALLENGE came in a datagram of `len` bytes from `address`: a response is owed there.
    // RFC 9000 sections 8.2.2#1, 19.17#1.
    pub fn on_challenge(&mut self, address: PathAddress, len: usize, data: [u8; 8], asked_at: ConnectionId) {
        if self.responses.len() == MAX_RESPONSES {
            self.responses.pop_front();
        }
        self.responses.push_back(Response { address, data, budget: 3 * len, asked_at });
    }

    /// The next response that goes somewhere else than the active path.
    // RFC 9000 section 8.2.2#3#7.
    pub fn take_response_elsewhere(&mut self) -> Option<Response> {
        let active = self.active.address;
        let at = self.responses.iter().position(|response| !response.address.is_same(&active))?;
        self.responses.remove(at)
    }

    /// The next response for the active path, without taking it.
    pub fn peek_response(&self) -> Option<[u8; 8]> {
        self.responses.iter().find(|response| response.address.is_same(&self.active.address)).map(|owed| owed.data)
    }

    /// The response for the active path with this data was written.
    pub fn response_written(&mut self, data: [u8; 8]) {
        let active = self.active.address;
        if let Some(at) = self.responses.iter().position(|owed| owed.data == data && owed.address.is_same(&active)) {
            self.responses.remove(at);
        }
    }

    /// Whether a response is owed.
    pub fn owes_response(&self) -> bool {
        !self.responses.is_empty()
    }

    /// When a challenge, the end of a validation, a look for silence or a search for a larger datagram size is due. What
    /// was due at `asked`, when there was nothing that could be sent, is not: it waits for whatever
    /// holds it back, not for a time.
    pub fn next_timeout(&self, asked: Time) -> Option<Time> {
        let challenges = self.iter().filter_map(|path| path.validation.next_challenge());
        let sends = challenges.chain(self.active.mtu.next_timeout()).chain(self.locals.next_timeout());
        let sends = sends.filter(|at| *at > asked);
        let credit = match &self.active.proof {
            Proof::Awaited(credit) => credit.next_timeout(),
            Proof::Unknown | Proof::Known => None,
        };
        sends.chain(self.iter().filter_map(|path| path.validation.deadline())).chain(credit).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whoever sends as much as is allowed never sends more than three times what came.
        #[test]
        // RFC 9000 sections 8#1, 8.1#1.
        fn amplification_is_bounded(steps in proptest::collection::vec((any::<bool>(), 1usize..3000), 0..200)) {
            let mut account = AntiAmplification::limited();
            let (mut received, mut sent) = (0u64, 0u64);
            for (receive, len) in steps {
                if receive {
                    account.on_received(len);
                    received += len as u64;
                } else {
                    let len = account.allowance().min(len as u64);
                    account.on_sent(len as usize);
                    sent += len;
                }
                prop_assert!(sent <= 3 * received);
                prop_assert_eq!(account.allowance(), 3 * received - sent);
            }
        }
    }

    fn address(port: u16) -> PathAddress {
        PathAddress { remote: SocketAddr::from(([192, 0, 2, 1], port)), local: None }
    }

    fn paths() -> Paths {
        let config = TransportConfig::default();
        Paths::new(Path::new(0, address(1), &config, AntiAmplification::Validated))
    }

    // RFC 9000 sections 8.2.2#1#3#7, 19.17#1: a response goes where the challenge came from, once; and a peer cannot.
    /// make us owe ever more.
    #[test]
    fn responses_go_back_to_where_the_challenge_came_from() {
        let mut paths = paths();
        let asked_at = ConnectionId::EMPTY;
        paths.on_challenge(address(1), 1200, [1; 8], asked_at);
        paths.on_challenge(address(2), 100, [2; 8], asked_at);
        paths.on_challenge(address(1), 1200, [3; 8], asked_at);
        let elsewhere = Response { address: address(2), data: [2; 8], budget: 300, asked_at };
        assert_eq!(paths.take_response_elsewhere(), Some(elsewhere));
        assert_eq!(paths.take_response_elsewhere(), None);
        assert_eq!(paths.peek_response(), Some([1; 8]));
        assert_eq!(paths.peek_response(), Some([1; 8]), "owed until it is written");
        paths.response_written([1; 8]);
        assert_eq!(paths.peek_response(), Some([3; 8]));
        paths.response_written([3; 8]);
        assert!(!paths.owes_response());
        (0..100).for_each(|data| paths.on_challenge(address(1), 1200, [data; 8], asked_at));
        assert_eq!((paths.responses.len(), paths.peek_response()), (MAX_RESPONSES, Some([96; 8])));
    }

    #[test]
    // RFC 9000 section 8.1#2.
    fn bytes_count_for_the_path_they_came_by() {
        let (mut paths, config) = (paths(), TransportConfig::default());
        let id = paths.take_id();
        assert_ne!(id, paths.active.id);
        let path = Path::new(id, address(2), &config, AntiAmplification::limited());
        paths.candidates.push(Candidate { path, intent: Intent::Wait });
        paths.on_datagram(&address(1), 1000);
        paths.on_datagram(&address(3), 1000);
        let allowance =
            |paths: &mut Paths, port| paths.find_mut(&address(port)).map(|path| path.amplification.allowance());
        assert_eq!([1, 2, 3].map(|port| allowance(&mut paths, port)), [Some(u64::MAX), Some(0), None]);
        paths.on_datagram(&address(2), 1000);
        assert_eq!(allowance(&mut paths, 2), Some(3000));
        assert!(paths.is_known_remote(address(2).remote) && !paths.is_known_remote(address(3).remote));
    }

    /// RFC 9000 section 5.1.1#7: the server may be about to take an ID for each of several moves in a breath; for none of
    /// them when there is nothing left to be answered, however that came about.
    #[test]
    fn claims_end_with_the_last_answer() {
        let mut paths = paths();
        let pending = || Validation::begin(Time::ZERO, std::time::Duration::ZERO, std::time::Duration::ZERO);
        let tries = [1, 2, 3].map(|_| {
            paths.claim();
            paths.active.validation = pending();
            paths.claimed()
        });
        assert_eq!(tries, [1, 2, 3]);
        paths.active.validation = Validation::Done;
        assert_eq!(paths.claimed(), 0);
        paths.claim();
        paths.active.validation = pending();
        assert_eq!(paths.claimed(), 1);
    }

    /// RFC 9000 section 9.6.2#4: what was sent before is taken, however late it comes.
    #[test]
    fn what_is_too_new_for_an_address_that_was_left() {
        let mut paths = paths();
        let here = Some(address(443).remote);
        assert!(!paths.is_too_new_for(here, 8));
        paths.left_local = here.zip(Some(7)).map(Box::new);
        let too_new = |local, number| paths.is_too_new_for(local, number);
        assert_eq!([too_new(here, 7), too_new(here, 8)], [false, true]);
        assert_eq!([too_new(None, 8), too_new(Some(address(444).remote), 8)], [false, false]);
    }
}
