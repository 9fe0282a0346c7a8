//! Which of a host's addresses to speak with: the first that answers (RFC 8305, "happy eyeballs").
//!
//! A host may have several addresses, and some of them, or all of one family, may be out of reach without
//! a word. So they are tried one after the other, each a moment after the one before and without waiting for
//! its end; whoever completes a handshake first wins, and the others are closed. An attempt that fails lets
//! the next one begin at once.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::failure::{Doing as _, Failure, Outcome};

/// How long an attempt is alone (RFC 8305 section 8: the recommended Connection Attempt Delay).
const DELAY: Duration = Duration::from_millis(250);

/// The addresses of a host, in the order in which they are to be tried.
pub(crate) async fn resolve(host: &str, port: u16) -> Outcome<Vec<SocketAddr>> {
    let doing = || format!("cannot find {host}");
    let addresses = interleaved(tokio::net::lookup_host((host, port)).await.doing(doing)?);
    if addresses.is_empty() { Err(Failure::new(doing(), "it has no address")) } else { Ok(addresses) }
}

/// IPv6 first, then by turns (RFC 8305 section 4); within a family as the system has sorted them.
fn interleaved(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let (six, four): (Vec<_>, Vec<_>) = addresses.partition(SocketAddr::is_ipv6);
    let longer = six.len().max(four.len());
    let turns = (0..longer).flat_map(|at| [six.get(at), four.get(at)]).flatten();
    let mut order = Vec::new();
    for address in turns {
        if !order.contains(address) {
            order.push(*address);
        }
    }
    order
}

/// How the attempts went.
pub(crate) struct Race<T> {
    /// The first that succeeded.
    pub(crate) won: Option<(SocketAddr, T)>,
    /// Those that had failed by then, and why.
    pub(crate) failed: Vec<(SocketAddr, String)>,
}

/// Attempts all `addresses` by `begin` until one succeeds. The others are dropped then.
pub(crate) async fn race<T, F, A>(addresses: &[SocketAddr], mut begin: F) -> Race<T>
where
    F: FnMut(SocketAddr) -> A,
    A: Future<Output = Result<T, String>> + Send + 'static,
    T: Send + 'static,
{
    let (mut attempts, mut failed) = (JoinSet::new(), Vec::new());
    let mut waiting = addresses.iter().copied();
    loop {
        let next = waiting.next();
        if let Some(address) = next {
            let attempt = begin(address);
            attempts.spawn(async move { (address, attempt.await) });
        }
        let ended = tokio::select! {
            ended = attempts.join_next() => ended,
            () = tokio::time::sleep(DELAY), if waiting.len() > 0 => continue,
        };
        match ended {
            Some(Ok((address, Ok(won)))) => return Race { won: Some((address, won)), failed },
            Some(Ok((address, Err(why)))) => failed.push((address, why)),
            // It has panicked, which was told.
            Some(Err(_)) => {}
            None => return Race { won: None, failed },
        }
    }
}

/// That nobody could be connected to at `authority`, and why not.
pub(crate) fn failure(authority: &str, failed: &[(SocketAddr, String)]) -> Failure {
    match failed {
        [(address, why)] => Failure::new(format!("cannot connect to {authority} ({address})"), why),
        failed => {
            let each: Vec<_> = failed.iter().map(|(address, why)| format!("{address}: {why}")).collect();
            Failure::new(format!("cannot connect to {authority}"), each.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_take_turns() {
        let found = ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.1:1", "[2001:db8::1]:1", "192.0.2.3:1", "[2001:db8::2]:1"];
        let order = interleaved(found.iter().map(|text| address(text)));
        let wanted = ["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1", "192.0.2.2:1", "192.0.2.3:1"].map(address);
        assert_eq!(order, wanted);
    }

    #[tokio::test]
    async fn one_that_is_silent_holds_nobody_up_and_is_dropped() {
        struct Dropped(Arc<Mutex<bool>>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                *self.0.lock().unwrap() = true;
            }
        }
        let dropped = Arc::new(Mutex::new(false));
        let addresses = [address("[2001:db8::1]:1"), address("192.0.2.1:1"), address("192.0.2.2:1")];
        let mut begun = Vec::new();
        let race = race(&addresses, |address| {
            begun.push(address);
            let witness = Dropped(dropped.clone());
            async move {
                if address.is_ipv6() {
                    std::future::pending::<()>().await;
                }
                let _witness = witness;
                Ok(address)
            }
        })
        .await;
        assert_eq!(race.won, Some((addresses[1], addresses[1])));
        assert_eq!((begun, race.failed), (addresses[..2].to_vec(), vec![]));
        tokio::task::yield_now().await;
        assert!(*dropped.lock().unwrap());
    }

    #[tokio::test]
    async fn one_that_fails_lets_the_next_begin_and_all_failures_are_told() {
        let addresses = [address("[2001:db8::1]:1"), address("192.0.2.1:1")];
        let race = race(&addresses, |address| async move { Err::<(), _>(format!("no, says {}", address.ip())) }).await;
        assert!(race.won.is_none());
        let told = failure("example.org:1", &race.failed).to_string();
        assert_eq!(
            told,
            "cannot connect to example.org:1: [2001:db8::1]:1: no, says 2001:db8::1; 192.0.2.1:1: no, says 192.0.2.1"
        );
        let one = failure("example.org:1", &race.failed[..1]).to_string();
        assert_eq!(one, "cannot connect to example.org:1 ([2001:db8::1]:1): no, says 2001:db8::1");
    }
}
