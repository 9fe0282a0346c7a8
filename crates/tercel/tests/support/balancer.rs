//! A load balancer for tests: datagrams of each client address leave from a socket of their own, to the
//! server that a test's function names.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "for tests, which have threads of their own")]

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::loopback;

/// Where a datagram goes: told the number of its client address, its own number among those from there, and
/// its bytes.
pub(crate) type Choice = Box<dyn FnMut(usize, usize, &[u8]) -> SocketAddr + Send>;

/// See the module. Dropping it ends it.
pub(crate) struct Balancer {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind(loopback()).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    socket
}

impl Balancer {
    pub(crate) fn new(choose: Choice) -> Self {
        let front = Arc::new(socket());
        let (address, over) = (front.local_addr().unwrap(), Arc::new(AtomicBool::default()));
        let ends = over.clone();
        let thread = Some(std::thread::spawn(move || run(&front, choose, &ends)));
        Self { address, over, thread }
    }

    /// Where clients are to connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn run(front: &Arc<UdpSocket>, mut choose: Choice, over: &Arc<AtomicBool>) {
    let mut flows: BTreeMap<SocketAddr, (Arc<UdpSocket>, usize, usize)> = BTreeMap::new();
    let mut threads = Vec::new();
    let mut buffer = vec![0; 65_536];
    while !over.load(Ordering::Relaxed) {
        let Ok((len, client)) = front.recv_from(&mut buffer) else { continue };
        let flow = flows.len();
        let (back, flow, count) = flows.entry(client).or_insert_with(|| {
            let back = Arc::new(socket());
            let (front, from, over) = (front.clone(), back.clone(), over.clone());
            threads.push(std::thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                while !over.load(Ordering::Relaxed) {
                    if let Ok((len, _)) = from.recv_from(&mut buffer) {
                        let _ = front.send_to(&buffer[..len], client);
                    }
                }
            }));
            (back, flow, 0)
        });
        let to = choose(*flow, *count, &buffer[..len]);
        *count += 1;
        // A full buffer loses it, as a network would.
        let _ = back.send_to(&buffer[..len], to);
    }
    threads.into_iter().for_each(|thread| drop(thread.join()));
}
