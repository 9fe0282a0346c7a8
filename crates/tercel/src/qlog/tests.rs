#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, Sender, channel};

use tercel_proto::trace::TraceStart;
use tercel_wire::Version;

use super::*;

/// Writes nothing before it is told to, then all.
struct Slow {
    go: Receiver<()>,
    text: Sender<String>,
}

impl Sink for Slow {
    fn write(&mut self, _: &Subject, text: Option<&[u8]>) -> io::Result<Written> {
        // Once whoever holds the other end lets go, nothing waits.
        let _ = self.go.recv();
        let text = text.unwrap_or_default();
        self.text.send(String::from_utf8(text.to_vec()).unwrap()).map_err(io::Error::other)?;
        Ok(Written::Kept)
    }
}

struct Refuses;

impl Sink for Refuses {
    fn write(&mut self, _: &Subject, _: Option<&[u8]>) -> io::Result<Written> {
        Err(io::Error::other("the disk is full"))
    }
}

fn start() -> TraceEvent {
    TraceEvent::Started(Box::new(TraceStart {
        role: Role::Client,
        version: Version(1),
        original_dcid: ConnectionId::new(&[1; 8]).unwrap(),
        local_cid: ConnectionId::new(&[2; 8]).unwrap(),
        remote: SocketAddr::from((Ipv4Addr::LOCALHOST, 443)),
    }))
}

fn batch(count: usize) -> Batch {
    let mut batch = Batch::default();
    (0..count).for_each(|_| batch.push(Time::from_nanos(1), TraceEvent::VerdictAsked));
    batch
}

/// How many events the text says are missing, and how many it has.
fn tally(text: &str) -> (u64, u64) {
    let missing = text.lines().filter_map(|line| line.split_once("tercel:events_missing")?.1.split_once("count\":"));
    let missing = missing.map(|(_, count)| count.trim_end_matches('}').parse::<u64>().unwrap()).sum();
    (missing, text.lines().filter(|line| line.contains("tercel:verdict_asked")).count() as u64)
}

#[test]
fn what_cannot_be_written_in_time_is_counted_where_it_is_missing() {
    for goes_on in [false, true] {
        let ((go, wait), (text, read)) = (channel(), channel());
        let log = Qlog::new(Slow { go: wait, text }).unwrap();
        let mut tracer = log.begin(Time::ZERO);
        let mut first = Batch::default();
        first.push(Time::ZERO, start());
        tracer.hand_over(Time::ZERO, first);
        let mut handed_over = 30 * QUEUE as u64;
        // A worker that waited here would wait forever.
        (0..3 * QUEUE).for_each(|_| tracer.hand_over(Time::ZERO, batch(10)));
        assert!(log.dropped() > 10 * QUEUE as u64);
        // Once there is room again, what comes next says what was lost before it; at the end, the end does.
        while goes_on && tracer.missed > 0 {
            go.send(()).unwrap();
            tracer.hand_over(Time::ZERO, batch(10));
            handed_over += 10;
        }
        drop((go, tracer));
        assert!(log.flush(Duration::from_secs(20)));
        let dropped = log.dropped();
        drop(log);
        let (missing, written) = tally(&read.iter().collect::<String>());
        assert_eq!((missing, written), (dropped, handed_over - dropped));
    }
}

#[test]
fn a_log_that_cannot_be_kept_ends_and_nothing_else_does() {
    let log = Qlog::new(Refuses).unwrap();
    let mut tracer = log.begin(Time::ZERO);
    let mut first = Batch::default();
    first.push(Time::ZERO, start());
    tracer.hand_over(Time::ZERO, first);
    (0..10).for_each(|_| {
        tracer.hand_over(Time::ZERO, batch(10));
        assert!(log.flush(Duration::from_secs(20)));
    });
    assert_eq!(log.dropped(), 0);
}

#[test]
fn a_log_whose_start_was_dropped_is_left_out() {
    let (text, read) = channel();
    let log = Qlog::new(Slow { go: channel().1, text }).unwrap();
    let mut tracer = log.begin(Time::ZERO);
    tracer.hand_over(Time::ZERO, batch(10));
    drop((tracer, log));
    assert_eq!(read.iter().collect::<String>(), "");
}
