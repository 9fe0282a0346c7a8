//! A network between a client and a server on this machine: the client talks to a *front* address, and
//! datagrams leave for the server from a *back* socket, one for each client address, as a NAT does it.
//! Between the two lie a bottleneck with a queue and a delay for each direction, and what a case wants
//! to go wrong (`options`). Both ends' views are written as pcap files (`trace`).
//!
//! It runs until standard input ends, and then says what it did.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "a network in real time")]

mod cross;
mod nat;
mod options;
mod pipe;
mod socket;
mod trace;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use crate::cross::Cross;
use crate::nat::Nat;
use crate::options::Options;
use crate::pipe::{Fate, Pipe};
use crate::socket::{Arrival, Datagram};
use crate::trace::{Side, Trace};

/// Which way a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toward {
    /// From a client.
    Server,
    /// From the server.
    Client,
}

/// What happens at a time.
enum Due {
    /// A datagram arrives, having gone this way of the NAT.
    Datagram(Datagram, Toward, nat::Way),
    /// A packet of the cross traffic has arrived or was lost, and its sender learns it.
    Cross(bool),
}

/// Something due, in the order of time and then of arrival.
struct Event(Instant, u64, Due);

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Event {}
impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

struct Link {
    options: Options,
    nat: Nat,
    to_server: Pipe,
    to_client: Pipe,
    cross: Option<Cross>,
    /// How many more of the client's datagrams are lost, once the server's flight has begun.
    silence: u32,
    flight: bool,
    trace: Trace,
    due: BinaryHeap<Reverse<Event>>,
    count: u64,
    began: Option<Instant>,
}

impl Link {
    fn later(&mut self, at: Instant, due: Due) {
        self.count += 1;
        self.due.push(Reverse(Event(at, self.count, due)));
    }

    /// A datagram has come to one of our sockets.
    fn arrived(&mut self, arrival: Arrival) {
        let now = Instant::now();
        // What happens at a time is counted from here.
        let began = *self.began.get_or_insert(now);
        let Some((toward, way)) = self.nat.way(&arrival, now - began) else { return };
        let mut datagram = arrival.datagram;
        // Answers to half a ClientHello are small.
        self.flight |= toward == Toward::Client && datagram.data.len() >= 1000;
        let (pipe, side) = match toward {
            Toward::Server => (&mut self.to_server, Side::Client),
            Toward::Client => (&mut self.to_client, Side::Server),
        };
        self.trace.record(side, toward, &way, &datagram, now);
        if toward == Toward::Server && self.flight && self.silence > 0 {
            self.silence -= 1;
            return;
        }
        if let Fate::Arrives(at) = pipe.take(now, now - began, &mut datagram) {
            self.later(at, Due::Datagram(datagram, toward, way));
        }
    }

    /// Does what is due.
    fn turn(&mut self) {
        let now = Instant::now();
        self.send_cross(now);
        while self.due.peek().is_some_and(|Reverse(event)| event.0 <= now) {
            let Some(Reverse(Event(_, _, due))) = self.due.pop() else { return };
            match due {
                Due::Datagram(datagram, toward, way) => {
                    let side = match toward {
                        Toward::Server => Side::Server,
                        Toward::Client => Side::Client,
                    };
                    if self.nat.deliver(&datagram, toward, &way) {
                        self.trace.record(side, toward, &way, &datagram, now);
                    }
                }
                Due::Cross(arrived) => {
                    if let Some(cross) = &mut self.cross {
                        cross.learns(arrived, now);
                    }
                    self.send_cross(now);
                }
            }
        }
    }

    /// The cross traffic fills its window.
    fn send_cross(&mut self, now: Instant) {
        while let Some(cross) = &mut self.cross
            && cross.may_send()
        {
            let (at, arrived) = match self.to_client.enqueue(now, Cross::PACKET) {
                Some(at) => (at + self.options.delay, true),
                // A loss is noticed by the packets behind, a round trip later.
                None => (now + 3 * self.options.delay, false),
            };
            self.later(at, Due::Cross(arrived));
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse(event)| event.0)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let options = Options::read();
    let (tell, mut arrivals) = mpsc::unbounded_channel();
    let nat = Nat::open(&options, tell)?;
    for address in nat.fronts() {
        println!("front {address}");
    }
    println!("ready");
    let pipe = |toward| Pipe::new(&options, toward);
    let mut link = Link {
        nat,
        to_server: pipe(Toward::Server),
        to_client: pipe(Toward::Client),
        cross: options.cross_traffic.then(Cross::default),
        trace: Trace::create(&options.trace)?,
        silence: options.silence,
        flight: false,
        due: BinaryHeap::new(),
        count: 0,
        began: None,
        options,
    };
    let mut input = tokio::io::stdin();
    let mut ignored = [0; 64];
    loop {
        link.turn();
        let next = link.next_due();
        let alarm = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            read = input.read(&mut ignored) => if matches!(read, Ok(0) | Err(_)) { break },
            Some(arrival) = arrivals.recv() => {
                link.arrived(arrival);
                while let Ok(arrival) = arrivals.try_recv() {
                    link.arrived(arrival);
                }
            }
            () = alarm => {}
        }
    }
    println!("to server: {}", link.to_server.account());
    println!("to client: {}", link.to_client.account());
    println!("rebindings: {}", link.nat.rebindings());
    if let Some(cross) = &link.cross {
        println!("cross traffic: {} bytes", cross.bytes());
    }
    link.trace.finish()
}
