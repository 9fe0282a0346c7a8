//! A network between a client and a server, the same for all peers: a bottleneck with a queue, a delay, and loss by
//! chance, each way. The client sends to the front; the server sees the back.
//!
//! Each way has a thread that receives and one that delivers. ECN marks do not pass.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Result;
use crate::peer::socket;
use crate::scenario::Network;

/// How soon it is noticed that the link is no longer wanted.
const TICK: Duration = Duration::from_millis(50);

/// A link that is there until [`Link::end`].
pub struct Link {
    /// Where the client connects to.
    pub front: SocketAddr,
    over: Arc<AtomicBool>,
    ways: Vec<JoinHandle<Account>>,
}

/// What happened on one way.
#[derive(Debug, Default, Clone, Copy)]
pub struct Account {
    pub taken: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost because too many waited, as the sender would have it.
    pub overflowed: u64,
    /// How late a datagram was delivered, at the most.
    pub late: Duration,
}

impl Link {
    /// Before the server at `server`. `seed` decides which datagrams are lost: those of the same number for all peers.
    pub fn new(network: Network, server: SocketAddr, seed: u64) -> Result<Self> {
        let (front, back) = (Arc::new(socket()?), Arc::new(socket()?));
        back.connect(server)?;
        for socket in [&front, &back] {
            socket.set_read_timeout(Some(TICK))?;
        }
        let (address, over) = (front.local_addr()?, Arc::new(AtomicBool::new(false)));
        let client = Arc::new(OnceLock::new());
        let way = |from: &Arc<UdpSocket>, seed| Way {
            from: from.clone(),
            client: client.clone(),
            over: over.clone(),
            network,
            random: fastrand::Rng::with_seed(seed),
            leaving: VecDeque::new(),
            account: Account::default(),
        };
        let (to_server, to_client) = (way(&front, seed), way(&back, !seed));
        let ways = vec![
            to_server.start(move |data| back.send(data)),
            to_client.start(move |data| match client.get() {
                Some(client) => front.send_to(data, *client),
                None => Ok(0),
            }),
        ];
        Ok(Self { front: address, over, ways })
    }

    /// Ends it: what happened on the way to the server, and on the way to the client.
    pub fn end(self) -> Vec<Account> {
        self.over.store(true, Ordering::Relaxed);
        self.ways.into_iter().filter_map(|way| way.join().ok()).collect()
    }
}

/// One way through the network.
struct Way {
    from: Arc<UdpSocket>,
    /// Where datagrams come from that have come to the front.
    client: Arc<OnceLock<SocketAddr>>,
    over: Arc<AtomicBool>,
    network: Network,
    random: fastrand::Rng,
    /// When those that wait have passed the bottleneck.
    leaving: VecDeque<Instant>,
    account: Account,
}

impl Way {
    /// A thread takes datagrams; the one that is returned delivers them when they are due.
    fn start(mut self, deliver: impl Fn(&[u8]) -> std::io::Result<usize> + Send + 'static) -> JoinHandle<Account> {
        let (tell, told) = mpsc::channel::<(Instant, Vec<u8>)>();
        let taking = std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while !self.over.load(Ordering::Relaxed) {
                let Ok((len, from)) = self.from.recv_from(&mut buffer) else { continue };
                self.client.get_or_init(|| from);
                if let Some(arrives) = self.take(len) {
                    // Nobody delivers any more once it is over.
                    let _ = tell.send((arrives, buffer[..len].to_vec()));
                }
            }
            self.account
        });
        std::thread::spawn(move || {
            let mut late = Duration::ZERO;
            for (arrives, data) in told {
                std::thread::sleep(arrives.saturating_duration_since(Instant::now()));
                // One that cannot be sent is lost.
                let _ = deliver(&data);
                late = late.max(arrives.elapsed());
            }
            Account { late, ..taking.join().unwrap_or_default() }
        })
    }

    /// When a datagram of so many bytes arrives, if it does.
    fn take(&mut self, len: usize) -> Option<Instant> {
        let now = Instant::now();
        self.account.taken += 1;
        if self.random.u32(..100) < self.network.loss {
            self.account.lost += 1;
            return None;
        }
        while self.leaving.front().is_some_and(|leaves| *leaves <= now) {
            self.leaving.pop_front();
        }
        if self.leaving.len() >= Network::QUEUE {
            self.account.overflowed += 1;
            return None;
        }
        // 28 bytes are those of IPv4 and UDP.
        let takes = Duration::from_nanos((len as u64 + 28) * 8 * 1_000_000_000 / Network::RATE);
        let leaves = self.leaving.back().map_or(now, |last| (*last).max(now)) + takes;
        self.leaving.push_back(leaves);
        Some(leaves + Duration::from_millis(self.network.round_trip.into()) / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Less than its rate passes but for what is lost by chance, and no faster than it was sent.
    #[test]
    fn lets_through_what_it_should() -> Result<()> {
        const SENT: u32 = 5000;
        let server = socket()?;
        let link = Link::new(Network { loss: 5, round_trip: 20 }, server.local_addr()?, 1)?;
        let client = socket()?;
        client.connect(link.front)?;
        server.set_read_timeout(Some(Duration::from_millis(200)))?;
        let began = Instant::now();
        let sender = std::thread::spawn(move || {
            // Four fifths of the rate.
            for number in 0..SENT {
                let due = began + number * Duration::from_micros(148);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                assert!(client.send(&[0; 1452]).is_ok());
            }
        });
        let (mut buffer, mut came, mut last) = ([0; 1500], 0, began);
        while server.recv(&mut buffer).is_ok() {
            came += 1;
            last = Instant::now();
        }
        assert!(sender.join().is_ok());
        let way = link.end()[0];
        assert_eq!((way.taken, way.lost + came, way.overflowed), (SENT.into(), SENT.into(), 0));
        assert!((200..300).contains(&way.lost), "{way:?}");
        assert!(last - began >= SENT * Duration::from_micros(148), "it is not faster than it can be");
        Ok(())
    }
}
