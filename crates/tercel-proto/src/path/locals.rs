//! The local addresses of a client beside the one in use: where it goes on from when that fails (RFC 9000
//! section 9).
//!
//! An address is here or is that of the active path, never both. Which of them have a path that is held ready, the
//! list of paths tells; here is only when one may be tried (again).

use std::net::SocketAddr;
use std::time::Duration;

use crate::error::ApiMisuse;
use crate::time::Time;

/// How many local addresses a connection may have, the one in use included.
pub const MAX_LOCAL_ADDRESSES: usize = 8;

/// For how long an address at which nothing was heard is left alone: the first time, and at most.
const FIRST_REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(300);

#[derive(Debug)]
struct LocalAddress {
    address: SocketAddr,
    /// When it may be tried.
    from: Time,
    /// For how long it rests if it fails.
    rest: Duration,
}

/// The local addresses beside the one in use.
#[derive(Debug, Default)]
pub struct LocalAddresses {
    known: Vec<LocalAddress>,
    /// When the peer, which has fallen silent, is to be asked whether it is still there.
    ask_at: Option<Time>,
}

impl LocalAddresses {
    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Every one, those first that were there first.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        self.known.iter().map(|local| local.address)
    }

    /// There is another.
    ///
    /// # Errors
    /// [`ApiMisuse::AlreadyDone`]: it is known; [`ApiMisuse::InvalidArgument`]: there are too many.
    pub fn add(&mut self, now: Time, address: SocketAddr) -> Result<(), ApiMisuse> {
        if self.iter().any(|known| known == address) {
            return Err(ApiMisuse::AlreadyDone);
        }
        if self.known.len() + 1 >= MAX_LOCAL_ADDRESSES {
            return Err(ApiMisuse::InvalidArgument("so many local addresses are too many for a connection"));
        }
        self.known.push(LocalAddress { address, from: now, rest: FIRST_REST });
        Ok(())
    }

    /// Forgets one; tells whether it was known.
    pub fn remove(&mut self, address: SocketAddr) -> bool {
        let before = self.known.len();
        self.known.retain(|known| known.address != address);
        if self.is_empty() {
            self.ask_at = None;
        }
        self.known.len() < before
    }

    /// `local` is in use now.
    pub fn take(&mut self, local: Option<SocketAddr>) {
        if let Some(local) = local {
            self.remove(local);
        }
    }

    /// `there` is in use in place of `here`, which has failed.
    pub fn exchange(&mut self, now: Time, here: SocketAddr, there: SocketAddr) {
        self.ask_at = None;
        if let Some(local) = self.known.iter_mut().find(|local| local.address == there) {
            *local = LocalAddress { address: here, from: now, rest: FIRST_REST };
            self.failed(now, here);
        }
    }

    /// Nothing was heard at this one.
    pub fn failed(&mut self, now: Time, address: SocketAddr) {
        if let Some(local) = self.known.iter_mut().find(|local| local.address == address) {
            local.from = now + local.rest;
            local.rest = (2 * local.rest).min(LONGEST_REST);
        }
    }

    /// The peer answers at this one.
    pub fn works(&mut self, address: SocketAddr) {
        if let Some(local) = self.known.iter_mut().find(|local| local.address == address) {
            local.rest = FIRST_REST;
        }
    }

    /// The first of those for which `is_free` that may be tried at `now`; or the one that may be tried soonest.
    pub fn first_due(&self, now: Option<Time>, is_free: impl Fn(SocketAddr) -> bool) -> Option<SocketAddr> {
        let mut free = self.known.iter().filter(|local| is_free(local.address));
        let first = match now {
            Some(now) => free.find(|local| local.from <= now),
            None => free.min_by_key(|local| local.from),
        };
        first.map(|local| local.address)
    }

    /// The peer has said something on the active path. If it says no more it is to be asked at `ask_at` whether it
    /// is there: it may have been cut off in the midst.
    pub fn on_heard(&mut self, ask_at: Time) {
        self.ask_at = Some(ask_at).filter(|_| !self.is_empty());
    }

    /// Whether the peer is to be asked now whether it is there.
    pub fn asks(&mut self, now: Time) -> bool {
        self.ask_at.take_if(|at| *at <= now).is_some()
    }

    /// When one may be tried that rests, or the peer is to be asked.
    pub fn next_timeout(&self) -> impl Iterator<Item = Time> {
        self.known.iter().map(|local| local.from).chain(self.ask_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_nanos(1 << 40);

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn they_are_few_and_each_is_there_once() {
        let mut locals = LocalAddresses::default();
        for port in 1..MAX_LOCAL_ADDRESSES as u16 {
            assert_eq!(locals.add(NOW, address(port)), Ok(()));
            assert_eq!(locals.add(NOW, address(port)), Err(ApiMisuse::AlreadyDone));
        }
        assert!(matches!(locals.add(NOW, address(100)), Err(ApiMisuse::InvalidArgument(_))));
        assert!(locals.remove(address(3)) && !locals.remove(address(3)));
        assert_eq!(locals.add(NOW, address(100)), Ok(()));
        assert_eq!(locals.iter().last(), Some(address(100)));
    }

    #[test]
    fn one_that_fails_rests_longer_each_time() {
        let mut locals = LocalAddresses::default();
        locals.add(NOW, address(1)).unwrap();
        let mut now = NOW;
        let mut rests = Vec::new();
        for _ in 0..8 {
            assert_eq!(locals.first_due(Some(now), |_| true), Some(address(1)));
            assert_eq!(locals.first_due(Some(now), |_| false), None);
            locals.failed(now, address(1));
            let then = locals.next_timeout().min().unwrap();
            assert_eq!(locals.first_due(Some(then - Duration::from_nanos(1)), |_| true), None);
            rests.push(then.since(now).as_secs());
            now = then;
        }
        assert_eq!(rests, [5, 10, 20, 40, 80, 160, 300, 300]);
        locals.works(address(1));
        locals.failed(now, address(1));
        assert_eq!(locals.next_timeout().min(), Some(now + FIRST_REST));
    }

    /// The one that is left takes the place of the one that is gone to, and rests.
    #[test]
    fn the_one_in_use_is_not_among_them() {
        let mut locals = LocalAddresses::default();
        for port in [1, 2] {
            locals.add(NOW, address(port)).unwrap();
        }
        locals.exchange(NOW, address(9), address(1));
        assert!(locals.iter().eq([address(9), address(2)]));
        let first = |now| locals.first_due(now, |_| true);
        assert_eq!(
            [first(Some(NOW)), first(Some(NOW + FIRST_REST)), first(None)],
            [2, 9, 2].map(|port| Some(address(port)))
        );
        // From one that was not of the set, nothing comes into it.
        locals.exchange(NOW, address(8), address(7));
        assert!(locals.iter().eq([address(9), address(2)]));
    }

    #[test]
    fn the_peer_is_asked_once_for_each_silence() {
        let mut locals = LocalAddresses::default();
        locals.on_heard(NOW);
        assert!(!locals.asks(NOW), "there is nowhere to go");
        locals.add(NOW, address(1)).unwrap();
        locals.on_heard(NOW + FIRST_REST);
        assert!(!locals.asks(NOW) && locals.asks(NOW + FIRST_REST) && !locals.asks(NOW + FIRST_REST));
        locals.on_heard(NOW);
        locals.remove(address(1));
        assert!(!locals.asks(NOW));
    }
}
