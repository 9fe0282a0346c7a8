//! A relay between a client and a server that records what passes and lets a test put in datagrams of
//! its own, as somebody on the path could.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "for tests, which have threads of their own")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::loopback;

/// What was seen on the way, each direction by itself: the first datagrams, and a changing choice of
/// later ones.
#[derive(Default)]
pub(crate) struct Seen {
    datagrams: [Vec<Vec<u8>>; 2],
    turn: usize,
}

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Server,
    Client,
}

impl Seen {
    /// The first so many stay.
    const FIRST: usize = 64;
    const MOST: usize = 2048;

    fn note(&mut self, to: To, datagram: &[u8]) {
        let seen = &mut self.datagrams[to as usize];
        if seen.len() < Self::MOST {
            seen.push(datagram.to_vec());
        } else {
            self.turn = (self.turn + 1) % (Self::MOST - Self::FIRST);
            seen[Self::FIRST + self.turn] = datagram.to_vec();
        }
    }

    pub(crate) fn of(&self, to: To) -> &[Vec<u8>] {
        &self.datagrams[to as usize]
    }
}

/// Sees what a client sends, and says what the client is to hear before the server does; `None` if the
/// server is not to hear of it.
pub(crate) type Hook = Box<dyn FnMut(&[u8]) -> Option<Vec<Vec<u8>>> + Send>;

struct Line {
    /// Where the client sends to.
    inside: UdpSocket,
    /// From where the server hears.
    outside: UdpSocket,
    server: SocketAddr,
    client: Mutex<Option<SocketAddr>>,
    seen: Arc<Mutex<Seen>>,
    /// Bytes that came from the client.
    from_client: AtomicU64,
    hook: Mutex<Option<Hook>>,
    over: AtomicBool,
}

/// See the module. Dropping it cuts the line.
pub(crate) struct Relay {
    line: Arc<Line>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    pub(crate) fn new(server: SocketAddr, seen: Arc<Mutex<Seen>>) -> Self {
        let [inside, outside] = [(); 2].map(|()| {
            let socket = UdpSocket::bind(loopback()).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            socket
        });
        let line = Arc::new(Line {
            inside,
            outside,
            server,
            client: Mutex::default(),
            seen,
            from_client: AtomicU64::default(),
            hook: Mutex::default(),
            over: AtomicBool::default(),
        });
        let (up, down) = (line.clone(), line.clone());
        let threads = vec![std::thread::spawn(move || up.up()), std::thread::spawn(move || down.down())];
        Self { line, threads }
    }

    /// Where the client is to connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.line.inside.local_addr().unwrap()
    }

    /// Bytes that the client has sent.
    pub(crate) fn client_bytes(&self) -> u64 {
        self.line.from_client.load(Ordering::Relaxed)
    }

    /// From now on `hook` comes first.
    pub(crate) fn set_hook(&self, hook: Option<Hook>) {
        *self.line.hook.lock().unwrap() = hook;
    }

    /// Sends a datagram as the other end.
    pub(crate) fn inject(&self, to: To, datagram: &[u8]) {
        // A full buffer loses it, as a network would.
        let _ = match (to, *self.line.client.lock().unwrap()) {
            (To::Server, _) => self.line.outside.send_to(datagram, self.line.server),
            (To::Client, Some(client)) => self.line.inside.send_to(datagram, client),
            (To::Client, None) => return,
        };
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.line.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Line {
    fn up(&self) {
        let mut buffer = vec![0; 65_536];
        while !self.over.load(Ordering::Relaxed) {
            let Ok((len, from)) = self.inside.recv_from(&mut buffer) else { continue };
            *self.client.lock().unwrap() = Some(from);
            self.from_client.fetch_add(len as u64, Ordering::Relaxed);
            self.seen.lock().unwrap().note(To::Server, &buffer[..len]);
            let hooked = self.hook.lock().unwrap().as_mut().map(|hook| hook(&buffer[..len]));
            let Some(answers) = hooked.unwrap_or(Some(Vec::new())) else { continue };
            for answer in answers {
                let _ = self.inside.send_to(&answer, from);
            }
            let _ = self.outside.send_to(&buffer[..len], self.server);
        }
    }

    fn down(&self) {
        let mut buffer = vec![0; 65_536];
        while !self.over.load(Ordering::Relaxed) {
            let Ok((len, _)) = self.outside.recv_from(&mut buffer) else { continue };
            self.seen.lock().unwrap().note(To::Client, &buffer[..len]);
            let client = *self.client.lock().unwrap();
            if let Some(client) = client {
                let _ = self.inside.send_to(&buffer[..len], client);
            }
        }
    }
}
