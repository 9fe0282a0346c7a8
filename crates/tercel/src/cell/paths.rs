//! The sockets of a connection: the one in use, those that are probed, held ready or were just left, and changes that wait
//! until they may be made. Which path is in use is for the protocol to say.

use std::net::SocketAddr;
use std::sync::Arc;

use tercel_proto::connection::Event;
use tercel_proto::error::ApiMisuse;
use tercel_proto::path::PathAddress;
use tercel_wire::Role;

use super::Core;
use super::deliver::tell;
use crate::binding::Binding;
use crate::event::ConnectionEvent;
use crate::operation::{Opened, PathChange};
use crate::worker::Floor;

/// The sockets beside the one in use.
#[derive(Default)]
pub(super) struct Beside {
    /// What was asked for and is not done yet.
    changes: Vec<PathChange>,
    /// Those of paths that are probed or held ready.
    held: Vec<Arc<Binding>>,
    /// The one that was left: what is on its way to it still arrives.
    left: Option<Arc<Binding>>,
}

/// What became of a change.
enum Attempt {
    Done,
    Waits(PathChange),
}

/// The protocol tells of paths.
#[cold]
pub(super) fn path_event(mut core: Box<Core>, event: &Event, floor: &Floor) -> Box<Core> {
    match *event {
        Event::PathChanged(path) => path_changed(core, path, floor),
        Event::PathValidated(path) => {
            // RFC 9000 section 9.3#3.
            if core.role == Role::Server && core.token_for != Some(path.remote.ip()) {
                core.renew_token(path.remote, None);
            }
            tell(core, ConnectionEvent::PathValidated { local: path.local, remote: path.remote })
        }
        Event::PathFailed(path) => {
            core.let_go();
            tell(core, ConnectionEvent::PathFailed { local: path.local, remote: path.remote })
        }
        Event::LocalAddressWanted { remote } => {
            core.offer_address(remote);
            core
        }
        _ => core,
    }
}

fn path_changed(mut core: Box<Core>, path: PathAddress, floor: &Floor) -> Box<Core> {
    let has_moved = core.follow_path(path.local, floor);
    let settled = core.proto.is_settled();
    let mut facts = core.shared.facts();
    facts.settled = settled;
    let before = std::mem::replace(&mut facts.remote, path.remote);
    let local = facts.local;
    drop(facts);
    // It was put there already if it was asked for.
    let has_moved = has_moved || core.role == Role::Client && before == path.remote;
    if before != path.remote {
        core = tell(core, ConnectionEvent::PeerAddressChanged(path.remote));
    }
    match has_moved && !core.is_closing() {
        true => tell(core, ConnectionEvent::LocalAddressChanged(local)),
        false => core,
    }
}

impl Core {
    /// A client is to speak from elsewhere. It will, as soon as it may.
    #[cold]
    pub(super) fn ask_for(&mut self, change: PathChange) {
        if change.is_move() {
            // The last one holds.
            self.beside.changes.retain(|earlier| !earlier.is_move());
        }
        self.beside.changes.push(change);
    }

    /// Makes the changes that were asked for, as far as they can be made: once the handshake is confirmed, for a server
    /// hears nothing from elsewhere before (RFC 9000 section 9), and with another connection ID (section 9.5). If the
    /// server forbids it, which was not known when it was asked for, everything stays as it is.
    #[inline]
    pub(super) fn change_paths(&mut self, floor: &mut Floor) {
        if !self.beside.changes.is_empty() {
            self.make_changes(floor);
        }
    }

    #[cold]
    fn make_changes(&mut self, floor: &mut Floor) {
        for change in std::mem::take(&mut self.beside.changes) {
            if let Attempt::Waits(change) = self.change_path(change, floor) {
                self.beside.changes.push(change);
            }
        }
    }

    fn change_path(&mut self, change: PathChange, floor: &mut Floor) -> Attempt {
        if let PathChange::Probe(opened) | PathChange::Add(opened) | PathChange::Offer(opened) = &change
            && !floor.sockets.is_here(opened.socket, self.slot)
        {
            return Attempt::Waits(change);
        }
        let now = self.now;
        let result = match &change {
            PathChange::Rebind(opened) => self.proto.local_address_changed(now, Some(opened.address())),
            PathChange::Probe(opened) => {
                let path = PathAddress { remote: self.remote(), local: Some(opened.address()) };
                self.proto.probe_path(now, path)
            }
            PathChange::Add(opened) => self.proto.add_local_address(now, opened.address()),
            PathChange::Remove(local) => self.proto.remove_local_address(now, *local),
            PathChange::Offer(opened) => {
                self.proto.offer_local_address(now, opened.address());
                Ok(())
            }
        };
        match (result, change) {
            (Err(ApiMisuse::TooEarly), change) => return Attempt::Waits(change),
            (Ok(()), PathChange::Rebind(opened)) => {
                self.beside.left = None;
                self.speak_from(opened);
            }
            (Ok(()), PathChange::Probe(opened) | PathChange::Add(opened) | PathChange::Offer(opened)) => {
                self.beside.held.push(opened.binding);
            }
            (Ok(()), PathChange::Remove(local)) => {
                self.beside.held.retain(|binding| binding.address != local);
                self.leave(local);
            }
            (Err(_), PathChange::Add(opened)) => {
                let address = opened.address();
                self.shared.facts().others.retain(|other| *other != address);
            }
            (Err(_), _) => {}
        }
        Attempt::Done
    }

    /// Nothing can leave from `local` any more. If that was in use the protocol has gone on from another.
    fn leave(&mut self, local: SocketAddr) {
        let next = self.proto.local_addresses().next();
        if self.binding.address == local
            && let Some(at) = self.beside.held.iter().position(|binding| Some(binding.address) == next)
            && let Some(socket) = self.beside.held[at].socket_of(self.shared.worker)
        {
            let binding = self.beside.held.remove(at);
            self.shared.facts().others.retain(|other| *other != binding.address);
            self.speak_from(Opened { binding, socket });
        }
    }

    fn speak_from(&mut self, opened: Opened) -> Arc<Binding> {
        let Opened { binding, socket } = opened;
        self.socket = socket;
        self.shared.facts().local = binding.address;
        std::mem::replace(&mut self.binding, binding)
    }

    /// The active path is another, and leads through the socket that speaks from `local`. Tells whether that is bound
    /// elsewhere than the one before.
    fn follow_path(&mut self, local: Option<SocketAddr>, floor: &Floor) -> bool {
        let found = local.and_then(|local| floor.sockets.leaving_from(local));
        let Some((socket, binding)) = found.filter(|(socket, _)| *socket != self.socket) else {
            self.let_go();
            return false;
        };
        let there = binding.address;
        let before = self.speak_from(Opened { binding, socket });
        let here = before.address;
        let stays = self.role == Role::Client && self.proto.local_addresses().any(|local| local == here);
        let mut facts = self.shared.facts();
        facts.others.retain(|other| *other != there);
        if stays {
            facts.others.push(here);
        }
        drop(facts);
        match stays {
            true => self.beside.held.push(before),
            false => self.beside.left = Some(before),
        }
        self.let_go();
        here != there
    }

    /// Lets go of the sockets that no path needs any more.
    fn let_go(&mut self) {
        if self.beside.held.is_empty() {
            return;
        }
        let mut needed: Vec<_> = self.proto.local_addresses().collect();
        needed.extend(self.proto.paths().iter().filter_map(|path| path.local));
        self.beside.held.retain(|binding| needed.contains(&binding.address));
    }

    /// The protocol wants an address from which `remote` can be reached.
    fn offer_address(&mut self, remote: SocketAddr) {
        let worker = self.shared.worker;
        match self.shared.registration.bindings.shared(worker, remote) {
            Ok(binding) => {
                if let Some(socket) = binding.socket_of(worker) {
                    self.ask_for(PathChange::Offer(Opened { binding, socket }));
                }
            }
            Err(error) => tracing::debug!(%error, %remote, "not tried"),
        }
    }
}
