//! A way to a server on which its answers can be held back.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a thread waits for a datagram before it looks whether the relay is still wanted.
const TURN: Duration = Duration::from_millis(20);

/// Passes datagrams of one client after another on to a server; ended with the test.
pub(crate) struct Relay {
    pub(crate) port: u16,
    ended: Arc<AtomicBool>,
    ways: Vec<JoinHandle<()>>,
}

impl Relay {
    /// To the server at a port of 127.0.0.1. What the server sends is held back while `holds` is true, and comes then.
    pub(crate) fn to(port: u16, holds: impl Fn() -> bool + Send + 'static) -> Self {
        let [front, back] = [(); 2].map(|()| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(TURN)).unwrap();
            socket
        });
        back.connect(("127.0.0.1", port)).unwrap();
        let at = front.local_addr().unwrap().port();
        let [(front, answers_to), (back, answers_of)] =
            [front, back].map(|socket| (socket.try_clone().unwrap(), socket));
        let client: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        let ended = Arc::new(AtomicBool::new(false));
        let there = {
            let (client, ended) = (client.clone(), ended.clone());
            std::thread::spawn(move || {
                let mut datagram = vec![0; 65_536];
                while !ended.load(Ordering::Relaxed) {
                    if let Ok((len, from)) = front.recv_from(&mut datagram) {
                        *client.lock().unwrap() = Some(from);
                        let _ = back.send(&datagram[..len]);
                    }
                }
            })
        };
        let back_again = {
            let ended = ended.clone();
            std::thread::spawn(move || {
                let mut datagram = vec![0; 65_536];
                while !ended.load(Ordering::Relaxed) {
                    if let Ok(len) = answers_of.recv(&mut datagram) {
                        while holds() && !ended.load(Ordering::Relaxed) {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                        if let Some(client) = *client.lock().unwrap() {
                            let _ = answers_to.send_to(&datagram[..len], client);
                        }
                    }
                }
            })
        };
        Self { port: at, ended, ways: vec![there, back_again] }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for way in self.ways.drain(..) {
            let _ = way.join();
        }
    }
}
