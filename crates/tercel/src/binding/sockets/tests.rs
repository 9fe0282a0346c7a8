//! Whatever connections make leaves as it was made, and in as few batches as the system's rules permit.

use std::sync::{Arc, Mutex};

use tercel_proto::path::Ecn;

use super::super::batch::LEAST_WORK;
use super::*;
use crate::datapath::buffers::Buffers;

const SOCKETS: [SocketId; 2] = [SocketId(0), SocketId(1)];
const MAX_SEGMENTS: usize = 4;
/// The largest datagram: two fit into what a system call takes, three do not.
const LARGEST: usize = 30_000;

/// What a call was given: through which socket, as what.
type Calls = Arc<Mutex<Vec<(SocketId, Transmit, Vec<u8>)>>>;

/// A socket that notes what it is to send, and does with it what it is told.
struct Noting {
    id: SocketId,
    calls: Calls,
    says: Arc<Mutex<Option<io::ErrorKind>>>,
}

impl Socket for Noting {
    fn local_address(&self) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], 1000 + self.id.0 as u16))
    }

    fn max_segments(&self) -> usize {
        MAX_SEGMENTS
    }

    fn send(&mut self, transmit: &Transmit, contents: &[u8]) -> io::Result<()> {
        if let Some(error) = *self.says.lock().unwrap() {
            return Err(error.into());
        }
        self.calls.lock().unwrap().push((self.id, *transmit, contents.to_vec()));
        Ok(())
    }

    fn receive(&mut self, _: &mut Buffers, _: &mut Vec<Received>) -> io::Result<Left> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

struct Fixture {
    sockets: Sockets,
    calls: Calls,
    says: Arc<Mutex<Option<io::ErrorKind>>>,
}

fn fixture(enough: usize) -> Fixture {
    let (calls, says) = (Calls::default(), Arc::default());
    let mut sockets = Sockets { enough, ..Sockets::default() };
    for id in SOCKETS {
        sockets.add(id, Box::new(Noting { id, calls: calls.clone(), says: Arc::clone(&says) }), Weak::new());
    }
    Fixture { sockets, calls, says }
}

/// What a connection has to send: so many datagrams of one size and perhaps a smaller one; and what is special.
#[derive(Debug, Clone, Copy)]
struct Made {
    count: usize,
    size: usize,
    last: usize,
    special: Special,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Special {
    Nothing,
    OtherSocket,
    OtherPeer,
    OtherSource,
    Marked,
    Probe,
}

const fn made(count: usize, size: usize, last: usize) -> Made {
    Made { count, size, last, special: Special::Nothing }
}

const fn special(special: Special) -> Made {
    Made { count: 1, size: 3, last: 0, special }
}

const KINDS: [Made; 13] = [
    made(1, 3, 0),
    made(1, 5, 0),
    made(2, 3, 0),
    made(1, 3, 1),
    made(3, 5, 3),
    made(1, LARGEST, 0),
    made(2, LARGEST, 7),
    special(Special::OtherSocket),
    special(Special::OtherPeer),
    special(Special::OtherSource),
    special(Special::Marked),
    special(Special::Probe),
    Made { count: 1, size: 9, last: 0, special: Special::Probe },
];

/// A datagram as it goes out: from where, where to, with which mark, what.
type Datagram = (SocketId, PathAddress, Ecn, Vec<u8>);

impl Made {
    fn socket(self) -> SocketId {
        SOCKETS[usize::from(self.special == Special::OtherSocket)]
    }

    fn path(self) -> PathAddress {
        let source = |last| SocketAddr::from(([10, 0, 0, last], 1000));
        PathAddress {
            remote: SocketAddr::from(([10, 0, 1, 1], 1 + u16::from(self.special == Special::OtherPeer))),
            local: (self.special == Special::OtherSource).then(|| source(1)),
        }
    }

    fn ecn(self) -> Ecn {
        if self.special == Special::Marked { Ecn::Ect0 } else { Ecn::NotEct }
    }

    /// Writes as many of its datagrams as it is permitted, each filled with a number of its own, and notes them.
    fn write(self, permitted: usize, room: &mut [u8], number: &mut u8, out: &mut Vec<Datagram>) -> Transmit {
        assert!(permitted > 0 && room.len() >= LARGEST, "{permitted} datagrams in {} bytes", room.len());
        let sizes = std::iter::repeat_n(self.size, self.count).chain((self.last > 0).then_some(self.last));
        let (mut len, mut count) = (0, 0);
        for size in sizes.take(permitted) {
            *number = number.wrapping_add(1);
            room[len..len + size].fill(*number);
            out.push((self.socket(), self.path(), self.ecn(), room[len..len + size].to_vec()));
            (len, count) = (len + size, count + 1);
        }
        let segment_size = (count > 1).then_some(self.size);
        Transmit { path: self.path(), ecn: self.ecn(), len, segment_size, mtu_probe: self.special == Special::Probe }
    }
}

/// The datagrams of calls, if these keep the rules.
fn datagrams(calls: &Calls) -> Vec<Datagram> {
    let mut all = Vec::new();
    for (socket, transmit, contents) in calls.lock().unwrap().iter() {
        assert_eq!(transmit.len, contents.len());
        assert!((1..=65_507).contains(&transmit.len), "{transmit:?}");
        let size = transmit.segment_size.unwrap_or(transmit.len);
        let count = transmit.len.div_ceil(size);
        assert!(count <= MAX_SEGMENTS && (count == 1 || !transmit.mtu_probe), "{transmit:?}");
        all.extend(contents.chunks(size).map(|data| (*socket, transmit.path, transmit.ecn, data.to_vec())));
    }
    all
}

/// In how few calls datagrams could go that are made in this order, `probes` of them alone.
fn fewest(datagrams: &[Datagram], is_probe: &[bool]) -> usize {
    let (mut calls, mut batch) = (0, Vec::<usize>::new());
    for (index, (socket, path, ecn, data)) in datagrams.iter().enumerate() {
        let joins = batch.first().is_some_and(|first| {
            let head = &datagrams[*first];
            let sizes = || batch.iter().map(|index| datagrams[*index].3.len());
            (head.0, head.1, head.2) == (*socket, *path, *ecn)
                && !is_probe[*first]
                && !is_probe[index]
                && batch.len() < MAX_SEGMENTS
                && sizes().all(|size| size == head.3.len())
                && data.len() <= head.3.len()
                && sizes().sum::<usize>() + LARGEST <= 65_507
        });
        if !joins {
            batch.clear();
            calls += 1;
        }
        batch.push(index);
    }
    calls
}

#[test]
fn what_goes_out_is_what_went_in() {
    const LONGEST: u32 = 4;
    let mut joined = 0;
    for sequence in 0..KINDS.len().pow(LONGEST) {
        let mut fixture = fixture(usize::MAX);
        let (mut number, mut expected, mut probes) = (0, Vec::new(), Vec::new());
        for at in 0..LONGEST {
            let kind = KINDS[sequence / KINDS.len().pow(at) % KINDS.len()];
            let sent = fixture.sockets.transmit(kind.socket(), at, LARGEST, |permitted, room| {
                Some(kind.write(permitted, room, &mut number, &mut expected))
            });
            assert_eq!(sent, Sent::Batch);
            probes.resize(expected.len(), kind.special == Special::Probe);
        }
        fixture.sockets.leave();
        assert_eq!(datagrams(&fixture.calls), expected, "{sequence}");
        let calls = fixture.calls.lock().unwrap().len();
        // What a connection has made is not taken apart.
        assert!(calls >= fewest(&expected, &probes) && calls <= LONGEST as usize, "{sequence}: {calls} calls");
        joined += LONGEST as usize - calls;
        assert!(fixture.sockets.next_failed().is_none());
    }
    assert!(joined > 10_000, "{joined} joined");
}

fn transmit(fixture: &mut Fixture, key: u32, kind: Made) -> Sent {
    let (mut number, mut made) = (key as u8, Vec::new());
    let make = |permitted, room: &mut [u8]| Some(kind.write(permitted, room, &mut number, &mut made));
    fixture.sockets.transmit(kind.socket(), key, LARGEST, make)
}

#[test]
fn equal_datagrams_of_several_connections_are_one_batch() {
    let mut fixture = fixture(usize::MAX);
    for key in 0..6 {
        let kind = if key < 4 { made(1, 3, 0) } else { made(1, 5, 3) };
        assert_eq!(transmit(&mut fixture, key, kind), Sent::Batch);
    }
    fixture.sockets.leave();
    let calls: Vec<_> = fixture.calls.lock().unwrap().iter().map(|(_, t, _)| (t.segment_size, t.len)).collect();
    assert_eq!(calls, [(Some(3), 12), (Some(5), 8), (Some(5), 8)]);
}

#[test]
fn a_batch_that_is_long_enough_leaves_and_the_next_may_be_longer() {
    let mut fixture = fixture(usize::MAX);
    fixture.sockets.begin();
    let mut lens = Vec::new();
    for key in 0..16 {
        transmit(&mut fixture, key, made(1, 2048, 0));
        lens.extend(fixture.calls.lock().unwrap().drain(..).map(|(_, transmit, _)| transmit.len / 2048));
    }
    // More than four segments it may not have.
    assert_eq!(lens, [2, 4, 4, 4]);
}

#[test]
fn of_small_datagrams_few_leave_together() {
    let mut fixture = fixture(2 * LEAST_WORK);
    let mut lens = Vec::new();
    for key in 0..12 {
        transmit(&mut fixture, key, made(1, 50, 0));
        lens.extend(fixture.calls.lock().unwrap().drain(..).map(|(_, transmit, _)| transmit.len / 50));
    }
    // More than four segments it may not have.
    assert_eq!(lens, [2, 4, 4]);
}

#[test]
fn who_made_what_cannot_be_sent_hears_of_it() {
    let mut fixture = fixture(usize::MAX);
    *fixture.says.lock().unwrap() = Some(io::ErrorKind::NetworkUnreachable);
    for key in [7, 7, 8] {
        transmit(&mut fixture, key, made(1, 3, 0));
    }
    transmit(&mut fixture, 9, special(Special::OtherPeer));
    *fixture.says.lock().unwrap() = None;
    fixture.sockets.leave();
    let mut failed: Vec<_> = std::iter::from_fn(|| fixture.sockets.next_failed()).collect();
    failed.sort_unstable();
    let path = made(1, 3, 0).path();
    assert_eq!(failed, [(7, path), (8, path)]);
    assert_eq!(fixture.calls.lock().unwrap().len(), 1);
}

#[test]
fn what_a_socket_does_not_take_is_kept_in_order_and_nothing_more_is_made() {
    let mut fixture = fixture(usize::MAX);
    *fixture.says.lock().unwrap() = Some(io::ErrorKind::WouldBlock);
    // The second does not join the first, which therefore is to leave.
    let kinds = [made(2, 3, 0), made(2, 5, 0)];
    assert_eq!(transmit(&mut fixture, 0, kinds[0]), Sent::Batch);
    assert_eq!(transmit(&mut fixture, 1, kinds[1]), Sent::Batch);
    assert_eq!(transmit(&mut fixture, 2, kinds[0]), Sent::Blocked);
    assert_eq!(transmit(&mut fixture, 3, special(Special::OtherSocket)), Sent::Batch);
    fixture.sockets.leave();
    assert!(fixture.sockets.writable(SOCKETS[0]).is_empty(), "it takes nothing yet");
    *fixture.says.lock().unwrap() = None;
    assert_eq!(fixture.sockets.writable(SOCKETS[0]), [2]);
    assert!(fixture.sockets.writable(SOCKETS[1]).is_empty());
    let calls: Vec<_> = fixture.calls.lock().unwrap().iter().map(|(id, t, _)| (*id, t.segment_size)).collect();
    assert_eq!(calls, [(SOCKETS[0], Some(3)), (SOCKETS[0], Some(5)), (SOCKETS[1], None)]);
    assert_eq!(datagrams(&fixture.calls).len(), 5);
}
