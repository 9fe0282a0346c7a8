//! Streams over real UDP: every way to receive, and every way to send.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::relay::Relay;
use crate::support::*;
use tercel::{
    AtLimit, Bytes, BytesMut, Connect, Connection, Direction, Error, Listen, Listener, ListenerEvent, NewStream,
    PendingReceive, ReceiveMemory, Registration, Rest, SendOptions, Stream, StreamEvent, StreamOptions, StreamStats,
};
use tercel_proto::config::TransportConfig;
use tercel_proto::error::ApiMisuse;

/// Both ends, connected, and the events of the client's connection.
struct Pair {
    client: Connection,
    heard: Receiver<String>,
    _listener: Listener,
    _registration: Registration,
}

/// A server that gives the peer's streams to `take`, and a client of it.
fn pair(transport: TransportConfig, take: impl Fn(NewStream) + Clone + Send + Sync + 'static) -> Pair {
    let configuration = configuration(transport);
    let registration = registration(1);
    let accepting = configuration.clone();
    let listener = registration
        .listen(Listen::new(loopback(), [ALPN]), move |_: &Listener, event| {
            let ListenerEvent::NewConnection(new) = event else { return };
            let (take, (record, _)) = (take.clone(), Record::new());
            new.accept(&accepting, recorder(record, move |_, new| take(new))).unwrap().detach();
        })
        .unwrap();
    let (record, heard) = Record::new();
    let to = Connect::new(listener.local_address(), "localhost");
    let client = registration.connect(&configuration, to, recorder(record, |_, new| drop(new))).unwrap();
    wait_for(&heard, "Connected");
    Pair { client, heard, _listener: listener, _registration: registration }
}

impl Pair {
    /// Sends `data` and the end on a new stream, and gives the words of its events.
    fn send(&self, data: Bytes) -> Receiver<String> {
        let (record, heard) = Record::new();
        let handler = move |_: &Stream, event: StreamEvent<'_>| record.note(format!("{event:?}"));
        let stream = self.client.open_stream(Direction::Unidirectional, handler).unwrap();
        stream.send(data, true, 0).unwrap();
        stream.detach();
        heard
    }
}

fn taken(new: NewStream, handler: impl FnMut(&Stream, StreamEvent<'_>) + Send + 'static) {
    new.accept(handler).unwrap().detach();
}

/// What a stream has brought so far, or why it ended.
#[derive(Debug, PartialEq)]
enum Got {
    Data(Vec<u8>),
    End,
    Over,
}

fn end_of(event: &StreamEvent<'_>) -> Option<Got> {
    match event {
        StreamEvent::PeerSendShutdown => Some(Got::End),
        StreamEvent::ShutdownComplete => Some(Got::Over),
        _ => None,
    }
}

/// Collects until the stream is over.
fn collect(got: &Receiver<Got>) -> Vec<u8> {
    let (mut all, mut ended) = (Vec::new(), false);
    loop {
        match got.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("more than {} bytes; ended: {ended}", all.len())) {
            Got::Data(data) => {
                assert!(!ended, "data after the end");
                all.extend(data);
            }
            Got::End => assert!(!std::mem::replace(&mut ended, true), "a second end"),
            Got::Over => {
                assert!(ended, "over before its end was told");
                return all;
            }
        }
    }
}

/// Sends once more what a mutex holds the sender of: handlers must be `Sync` here.
fn teller<T>() -> (Arc<Mutex<Sender<T>>>, Receiver<T>) {
    let (tell, heard) = mpsc::channel();
    (Arc::new(Mutex::new(tell)), heard)
}

const LEN: usize = 3 << 20;

#[test]
fn one_receive_at_a_time_answered_from_elsewhere_whole_or_in_part() {
    let ((pend, pended), (tell, got)) = (teller::<(PendingReceive, Vec<Bytes>, u64, bool)>(), teller());
    let busy = Arc::new(AtomicBool::new(false));
    let outstanding = busy.clone();
    let pair = pair(TransportConfig::default(), move |new| {
        let (pend, tell, busy) = (pend.clone(), tell.clone(), busy.clone());
        taken(new, move |_, event| {
            if let Some(end) = end_of(&event) {
                tell.lock().unwrap().send(end).unwrap();
            }
            let StreamEvent::Receive(mut receive) = event else { return };
            assert!(!busy.swap(true, Ordering::SeqCst), "a receive while another is pended");
            let (offset, fin, pending) = (receive.offset(), receive.fin(), receive.pend().unwrap());
            assert!(receive.pend().is_err() && receive.accept(0, Rest::AtOnce).is_err(), "it is answered once");
            let data = receive.take().collect();
            pend.lock().unwrap().send((pending, data, offset, fin)).unwrap();
        });
    });
    let _sent = pair.send(pattern(LEN));
    let (mut all, mut turn, mut ended) = (Vec::new(), 0, false);
    while !ended {
        let (pending, data, offset, fin) = pended.recv_timeout(PATIENCE).unwrap();
        let data = data.concat();
        assert_eq!((offset, pending.len()), (all.len() as u64, data.len()));
        turn += 1;
        let accepted = [data.len(), data.len() / 2, 0, data.len().saturating_sub(1)][turn % 4];
        ended = fin && accepted == data.len();
        all.extend_from_slice(&data[..accepted]);
        assert!(got.try_recv().is_err(), "the end comes behind what is pended");
        outstanding.store(false, Ordering::SeqCst);
        let pending = pending.complete_part(data.len() + 1, Rest::AtOnce).expect_err("more than came");
        match (accepted == data.len(), turn % 3) {
            (true, 0) => pending.complete(),
            (true, _) => drop(pending),
            (false, 0) => {
                let stream = pending.stream().clone();
                pending.complete_part(accepted, Rest::WhenEnabled).unwrap();
                stream.set_receive_enabled(true);
                stream.detach();
            }
            (false, _) => pending.complete_part(accepted, Rest::AtOnce).unwrap(),
        }
    }
    assert!(collect(&got).is_empty());
    assert!(pattern(LEN) == all);
    drop(pair);
}

/// The last handle goes while the handler is told of the end, and does not take everything: nobody is left to do so.
#[test]
fn a_stream_whose_last_handle_goes_with_its_end_is_over_all_the_same() {
    let (tell, got) = teller();
    let pair = pair(TransportConfig::default(), move |new| {
        let (kept, tell) = (Arc::new(Mutex::new(None)), tell.clone());
        let last = kept.clone();
        let stream = new.accept(move |_: &Stream, event: StreamEvent<'_>| {
            if let Some(end) = end_of(&event) {
                tell.lock().unwrap().send(end).unwrap();
            }
            let StreamEvent::Receive(mut receive) = event else { return };
            if receive.fin() {
                drop(last.lock().unwrap().take());
                receive.accept(1, Rest::WhenEnabled).unwrap();
            }
        });
        *kept.lock().unwrap() = Some(stream.unwrap());
    });
    let _sent = pair.send(Bytes::from_static(b"all of it"));
    assert_eq!(got.recv_timeout(PATIENCE), Ok(Got::Over));
}

/// What is not accepted comes again: at once, or when delivery is enabled again and not before.
#[test]
fn a_part_can_be_accepted_and_the_rest_comes_again() {
    for rest in [Rest::AtOnce, Rest::WhenEnabled] {
        let ((tell, got), (paused, pauses)) = (teller(), teller());
        let resting = Arc::new(AtomicBool::new(false));
        let flag = resting.clone();
        let pair = pair(TransportConfig::default(), move |new| {
            let (tell, paused, resting) = (tell.clone(), paused.clone(), resting.clone());
            taken(new, move |stream, event| {
                if let Some(end) = end_of(&event) {
                    tell.lock().unwrap().send(end).unwrap();
                }
                let StreamEvent::Receive(mut receive) = event else { return };
                assert!(!resting.load(Ordering::SeqCst), "delivered while delivery is off");
                let (before, fin) = (receive.len(), receive.fin());
                assert!(receive.accept(before + 1, rest).is_err(), "more than came");
                // Lines of 4096 bytes, say: only whole ones, as long as there may be more.
                let whole = before.min(64 << 10) / 4096 * 4096;
                let len = if fin && before < 4096 { before } else { whole };
                receive.accept(len, rest).unwrap();
                assert_eq!((receive.len(), receive.fin()), (len, fin && len == before));
                let data = receive.take().collect::<Vec<_>>().concat();
                assert_eq!(data.len(), len);
                tell.lock().unwrap().send(Got::Data(data)).unwrap();
                if rest == Rest::WhenEnabled && len < before {
                    resting.store(true, Ordering::SeqCst);
                    paused.lock().unwrap().send(stream.clone()).unwrap();
                }
            });
        });
        let _sent = pair.send(pattern(LEN + 100));
        let resume = std::thread::spawn(move || {
            while let Ok(stream) = pauses.recv() {
                flag.store(false, Ordering::SeqCst);
                stream.set_receive_enabled(true);
                stream.detach();
            }
        });
        assert!(pattern(LEN + 100) == collect(&got));
        drop(pair);
        drop(resume);
    }
}

#[test]
fn several_receives_may_be_outstanding_within_the_window() {
    const WINDOW: u64 = 100_000;
    let (deliver, delivered) = teller();
    let transport = TransportConfig {
        stream_receive_window: WINDOW,
        max_stream_receive_window: WINDOW,
        ..TransportConfig::default()
    };
    let credited = Arc::new(AtomicU64::new(0));
    let given = credited.clone();
    let pair = pair(transport, move |new| {
        let (deliver, credited) = (deliver.clone(), credited.clone());
        let mut received = 0;
        taken(new, move |stream, event| {
            let StreamEvent::Receive(mut receive) = event else { return };
            assert_eq!(receive.offset(), received, "nothing comes twice");
            received += receive.len() as u64;
            assert!(received - credited.load(Ordering::SeqCst) <= WINDOW, "more than the window is outstanding");
            receive.defer();
            let part = (receive.len(), receive.fin(), stream.clone());
            deliver.lock().unwrap().send(part).unwrap();
        });
    });
    let _sent = pair.send(pattern(1 << 20));
    let (mut received, mut outstanding, mut most) = (0, 0, 0);
    loop {
        let (len, fin, stream): (usize, bool, Stream) = delivered.recv_timeout(PATIENCE).unwrap();
        received += len;
        outstanding += 1;
        most = most.max(outstanding);
        let held = received as u64 - given.load(Ordering::SeqCst);
        // Not for each, but for many at once, and not for all of the last.
        if held > WINDOW / 2 || fin {
            let len = if fin { held } else { held - 10 };
            given.fetch_add(len, Ordering::SeqCst);
            stream.consumed(len);
            outstanding = 1;
        }
        stream.detach();
        if fin {
            break;
        }
    }
    assert_eq!(received, 1 << 20);
    assert!(most > 2, "only {most} were outstanding");
}

/// Receives an echo into two buffers in turn, and gives back each only when it was looked at.
#[test]
fn data_comes_into_buffers_of_the_application() {
    let pair = pair(TransportConfig::default(), |new| {
        taken(new, |stream, event| {
            if let StreamEvent::Receive(mut receive) = event {
                let fin = receive.fin();
                for chunk in receive.take() {
                    stream.send(chunk, false, 0).unwrap();
                }
                if fin {
                    stream.finish().unwrap();
                }
            }
        });
    });
    // Larger and smaller than the window that the peer has anyway.
    for (size, len) in [(1000, LEN / 10), (300_000, LEN)] {
        let (tell, got) = teller();
        let (needed, needs) = teller();
        let (mut offset, mut parts, mut first) = (0, BytesMut::new(), None);
        let handler = move |stream: &Stream, event: StreamEvent<'_>| {
            if let Some(end) = end_of(&event) {
                if end == Got::End && !parts.is_empty() {
                    tell.lock().unwrap().send(Got::Data(parts.to_vec())).unwrap();
                }
                tell.lock().unwrap().send(end).unwrap();
            }
            match event {
                StreamEvent::Receive(_) => panic!("not on such a stream"),
                StreamEvent::ReceiveBufferNeeded => needed.lock().unwrap().send(()).unwrap(),
                StreamEvent::ReceiveBuffer(filled) => {
                    assert_eq!(filled.offset(), offset);
                    offset += filled.data().len() as u64;
                    let used_up = filled.is_used_up();
                    parts.unsplit(filled.into_data());
                    if used_up {
                        assert_eq!(parts.len(), parts.capacity());
                        assert!(parts.len() >= size);
                        // The parts of a buffer lie where it lies.
                        let begin = parts.as_ptr() as usize;
                        assert!(first.replace(begin) != Some(begin), "two buffers in turn");
                        tell.lock().unwrap().send(Got::Data(parts.to_vec())).unwrap();
                        // A buffer that comes too late: the peer waits.
                        stream.provide_receive_buffers(vec![std::mem::take(&mut parts)]).unwrap();
                    }
                }
                _ => {}
            }
        };
        let buffers = (0..2).map(|_| BytesMut::with_capacity(size)).collect();
        let stream = pair.client.open_stream_into(StreamOptions::default(), buffers, handler).unwrap();
        stream.send(pattern(len), true, 0).unwrap();
        assert!(pattern(len) == collect(&got), "{size}");
        assert!(needs.try_recv().is_err(), "there was always one");
        assert!(matches!(
            stream.provide_receive_buffers(vec![BytesMut::with_capacity(1)]),
            Err(Error::Misuse(ApiMisuse::ReceiveClosed))
        ));
    }
    assert!(
        pair.client
            .open_stream_into(StreamOptions::default(), vec![BytesMut::new()], |_: &Stream, _: StreamEvent<'_>| {})
            .is_err()
    );
    let plain = pair.client.open_stream(Direction::Bidirectional, |_: &Stream, _: StreamEvent<'_>| {}).unwrap();
    assert!(matches!(plain.provide_receive_buffers(Vec::new()), Err(Error::Misuse(ApiMisuse::NoReceiveBuffers))));
}

/// Memory of a program's that data is put into: here a vector behind a lock.
struct Lent {
    memory: Arc<Mutex<Vec<u8>>>,
    room: usize,
}

impl ReceiveMemory for Lent {
    fn room(&self) -> usize {
        self.room
    }

    fn put(&mut self, data: &[u8]) -> Bytes {
        self.room -= data.len();
        self.memory.lock().unwrap().extend_from_slice(data);
        Bytes::copy_from_slice(data)
    }
}

/// What is received is put into memory that is lent, piece after piece, and shown as ever: in part, again, later. When
/// there is no room the peer waits until there is.
#[test]
fn memory_that_is_lent_is_filled_in_order() {
    const LEN: usize = 1 << 20;
    let pair = pair(TransportConfig::default(), |new| {
        taken(new, |stream, event| {
            if let StreamEvent::Receive(mut receive) = event {
                let fin = receive.fin();
                for chunk in receive.take() {
                    stream.send(chunk, false, 0).unwrap();
                }
                if fin {
                    stream.finish().unwrap();
                }
            }
        });
    });
    let memory = Arc::new(Mutex::new(Vec::new()));
    let lend = move |of: &Arc<Mutex<Vec<u8>>>, room| -> Vec<Box<dyn ReceiveMemory>> {
        vec![Box::new(Lent { memory: of.clone(), room })]
    };
    let (tell, got) = teller();
    let (to, mut steps) = (memory.clone(), 0);
    let handler = move |stream: &Stream, event: StreamEvent<'_>| {
        if let Some(end) = end_of(&event) {
            tell.lock().unwrap().send(end).unwrap();
        }
        match event {
            StreamEvent::Receive(mut receive) => {
                steps += 1;
                let whole = receive.len();
                if steps % 3 == 0 {
                    receive.accept(whole / 2, Rest::AtOnce).unwrap();
                }
                let data = receive.chunks().concat();
                tell.lock().unwrap().send(Got::Data(data)).unwrap();
                if steps % 3 == 1 {
                    receive.pend().unwrap().complete();
                }
            }
            StreamEvent::ReceiveMemoryNeeded { .. } => {
                stream.lend_memory(lend(&to, 5000)).unwrap();
            }
            StreamEvent::ReceiveBuffer(_) | StreamEvent::ReceiveBufferNeeded => panic!("not on such a stream"),
            _ => {}
        }
    };
    let first = lend(&memory, 100);
    let stream = pair.client.open_stream_into_memory(StreamOptions::default(), first, handler).unwrap();
    stream.send(pattern(LEN), true, 0).unwrap();
    assert!(pattern(LEN) == collect(&got));
    assert!(*memory.lock().unwrap() == pattern(LEN));
    let late = stream.lend_memory(lend(&memory, 1));
    assert!(matches!(late, Err(Error::Misuse(ApiMisuse::ReceiveClosed))), "{late:?}");
    assert!(matches!(stream.lend_memory(lend(&memory, 0)), Err(Error::Misuse(_) | Error::InvalidArgument(_))));
    let into_buffers =
        pair.client.open_stream_into(StreamOptions::default(), Vec::new(), |_: &Stream, _: StreamEvent<'_>| {});
    let refused = into_buffers.unwrap().lend_memory(lend(&memory, 1));
    assert!(matches!(refused, Err(Error::Misuse(ApiMisuse::NoReceiveBuffers))), "{refused:?}");
}

/// The peer may send no more than there is space, and goes on when there is more.
#[test]
fn who_provides_no_buffers_holds_the_peer_back() {
    const WINDOW: u64 = 20_000;
    let ((tell, got), (needed, needs)) = (teller(), teller());
    let transport = TransportConfig { stream_receive_window: WINDOW, ..TransportConfig::default() };
    let pair = pair(transport, move |new| {
        let (tell, needed) = (tell.clone(), needed.clone());
        let handler = move |stream: &Stream, event: StreamEvent<'_>| {
            if let Some(end) = end_of(&event) {
                tell.lock().unwrap().send(end).unwrap();
            }
            match event {
                StreamEvent::ReceiveBuffer(filled) => {
                    tell.lock().unwrap().send(Got::Data(filled.into_data().to_vec())).unwrap();
                }
                StreamEvent::ReceiveBufferNeeded => needed.lock().unwrap().send(stream.clone()).unwrap(),
                _ => {}
            }
        };
        // None at first: what comes waits in the window that every stream begins with.
        new.accept_into(Vec::new(), handler).unwrap().detach();
    });
    let sent = pair.send(pattern(100_000));
    let (mut all, mut provided) = (Vec::new(), 0_u64);
    while all.len() < 100_000 {
        let stream: Stream = needs.recv_timeout(PATIENCE).unwrap();
        while let Ok(Got::Data(data)) = got.try_recv() {
            all.extend(data);
        }
        assert_eq!(all.len() as u64, provided, "needed when all is used up, and not before");
        // In bits and pieces, also more than one at a time.
        let sizes: &[u64] = if provided < 30_000 { &[1, 9_999] } else { &[30_000, 5_000] };
        provided = (provided + sizes.iter().sum::<u64>()).min(100_000);
        stream
            .provide_receive_buffers(sizes.iter().map(|size| BytesMut::with_capacity(*size as usize)).collect())
            .unwrap();
        stream.detach();
        if provided == 100_000 {
            all.extend(collect(&got));
        }
    }
    assert!(pattern(100_000) == all);
    wait_for(&sent, "SendComplete { context: 0, canceled: false }");
}

#[test]
fn a_reset_is_told_though_nothing_is_delivered() {
    for pends in [false, true] {
        let ((tell, told), (keep, kept)) = (teller(), teller());
        let pair = pair(TransportConfig::default(), move |new| {
            let (tell, keep) = (tell.clone(), keep.clone());
            taken(new, move |stream, event| match event {
                StreamEvent::Receive(mut receive) => {
                    match pends {
                        true => keep.lock().unwrap().send(Some(receive.pend().unwrap())).unwrap(),
                        false => {
                            receive.accept(1, Rest::WhenEnabled).unwrap();
                            keep.lock().unwrap().send(None).unwrap();
                        }
                    }
                    let _ = stream;
                }
                StreamEvent::PeerSendAborted(code) => tell.lock().unwrap().send(code).unwrap(),
                _ => {}
            });
        });
        let (record, heard) = Record::new();
        let handler = move |_: &Stream, event: StreamEvent<'_>| record.note(format!("{event:?}"));
        let stream = pair.client.open_stream(Direction::Unidirectional, handler).unwrap();
        stream.send(pattern(1000), false, 0).unwrap();
        let pending: Option<PendingReceive> = kept.recv_timeout(PATIENCE).unwrap();
        stream.reset(9u32.into()).unwrap();
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), 9u32.into());
        drop(pending);
        wait_for(&heard, "ShutdownComplete");
    }
}

#[test]
fn at_the_peers_limit_a_stream_waits_or_fails_or_is_ahead() {
    let (keep, kept) = teller();
    let transport = TransportConfig { max_uni_streams: 1, ..TransportConfig::default() };
    let pair = pair(transport, move |new| keep.lock().unwrap().send(new).unwrap());
    let open = |at_limit, announce| {
        let (record, heard) = Record::new();
        let handler = move |_: &Stream, event: StreamEvent<'_>| record.note(format!("{event:?}"));
        let options = StreamOptions { at_limit, announce, ..StreamOptions::default() };
        (pair.client.open_stream_with(Direction::Unidirectional, options, handler).unwrap(), heard)
    };
    // The peer hears of it without data.
    let (first, first_heard) = open(AtLimit::Ahead, true);
    wait_for(&first_heard, "Started(Ok");
    assert_eq!(first_heard.recv_timeout(PATIENCE).unwrap(), "PeerAccepted");
    let theirs: NewStream = kept.recv_timeout(PATIENCE).unwrap();
    assert_eq!(Some(theirs.id()), first.id());
    let (failed, failed_heard) = open(AtLimit::Fail, false);
    assert_eq!(failed_heard.recv_timeout(PATIENCE).unwrap(), "Started(Err(Misuse(StreamLimit)))");
    wait_for(&failed_heard, "ShutdownComplete");
    assert!(failed.send(Bytes::new(), true, 0).is_err());
    let (waits, waits_heard) = open(AtLimit::Wait, false);
    let (ahead, ahead_heard) = open(AtLimit::Ahead, false);
    wait_for(&ahead_heard, "Started(Ok");
    ahead.send("ahead".into(), true, 0).unwrap();
    waits.send("waits".into(), true, 0).unwrap();
    assert!(ahead.id() > first.id() && waits.id().is_none());
    assert!(ahead_heard.try_recv().is_err() && waits_heard.try_recv().is_err());
    // One ends, another may begin.
    first.finish().unwrap();
    taken(theirs, |_, _| {});
    assert_eq!(ahead_heard.recv_timeout(PATIENCE).unwrap(), "PeerAccepted");
    let theirs: NewStream = kept.recv_timeout(PATIENCE).unwrap();
    assert_eq!(Some(theirs.id()), ahead.id());
    taken(theirs, |_, _| {});
    wait_for(&ahead_heard, "SendComplete { context: 0, canceled: false }");
    wait_for(&waits_heard, "Started(Ok");
    taken(kept.recv_timeout(PATIENCE).unwrap(), |_, _| {});
    wait_for(&waits_heard, "SendComplete { context: 0, canceled: false }");
}

#[test]
fn a_hint_that_more_follows_saves_packets_and_loses_nothing() {
    let (tell, got) = teller();
    let pair = pair(TransportConfig::default(), move |new| {
        let tell = tell.clone();
        taken(new, move |_, event| {
            if let Some(end) = end_of(&event) {
                tell.lock().unwrap().send(end).unwrap();
            }
            let StreamEvent::Receive(mut receive) = event else { return };
            let data = receive.take().collect::<Vec<_>>().concat();
            tell.lock().unwrap().send(Got::Data(data)).unwrap();
        });
    });
    wait_for(&pair.heard, "HandshakeConfirmed");
    let handler = |_: &Stream, _: StreamEvent<'_>| {};
    let stream = pair.client.open_stream(Direction::Unidirectional, handler).unwrap();
    let more = SendOptions { more_follows: true, ..SendOptions::default() };
    for _ in 0..10 {
        stream.send_with("more ".into(), more).unwrap();
    }
    stream.send_with("and the end".into(), SendOptions { fin: true, ..SendOptions::default() }).unwrap();
    assert_eq!(collect(&got), [&b"more ".repeat(10)[..], b"and the end"].concat());
}

/// A relay drops what the client sends: the stream is given up with the application's code, and nothing of
/// it is sent again.
#[test]
fn a_loss_cancels_the_stream_that_asked_for_it() {
    let ((tell, told), configuration) = (teller(), configuration(TransportConfig::default()));
    let (registration, accepting) = (registration(1), configuration.clone());
    let listener = registration
        .listen(Listen::new(loopback(), [ALPN]), move |_: &Listener, event| {
            let ListenerEvent::NewConnection(new) = event else { return };
            let (tell, (record, _)) = (tell.clone(), Record::new());
            let take = move |_: &Connection, new: NewStream| {
                let tell = tell.clone();
                taken(new, move |_, event| {
                    if let StreamEvent::PeerSendAborted(code) = event {
                        tell.lock().unwrap().send(code).unwrap();
                    }
                });
            };
            new.accept(&accepting, recorder(record, take)).unwrap().detach();
        })
        .unwrap();
    let relay = Relay::new(listener.local_address(), Arc::default());
    let (record, heard) = Record::new();
    let to = Connect::new(relay.address(), "localhost");
    let client = registration.connect(&configuration, to, recorder(record, |_, new| drop(new))).unwrap();
    wait_for(&heard, "HandshakeConfirmed");
    let (record, heard) = Record::new();
    let handler = move |_: &Stream, event: StreamEvent<'_>| {
        record.note(format!("{event:?}"));
        if let StreamEvent::CanceledByLoss(code) = event {
            *code = 77u32.into();
        }
    };
    let stream = client.open_stream(Direction::Unidirectional, handler).unwrap();
    let options = SendOptions { context: Some(1), cancel_on_loss: true, ..SendOptions::default() };
    stream.send_with(pattern(10), options).unwrap();
    wait_for(&heard, "SendComplete { context: 1, canceled: false }");
    // The next datagram with much in it is lost.
    let mut lost = false;
    relay.set_hook(Some(Box::new(move |datagram| {
        let drop = datagram.len() > 1000 && !std::mem::replace(&mut lost, true);
        (!drop).then(Vec::new)
    })));
    // The stream is like that for good.
    stream.send(pattern(100_000), true, 2).unwrap();
    wait_for(&heard, "CanceledByLoss");
    wait_for(&heard, "SendComplete { context: 2, canceled: true }");
    wait_for(&heard, "SendShutdownComplete { graceful: false }");
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), 77u32.into());
}

#[test]
fn a_stream_tells_what_it_has_done_and_what_kept_it_from_more() {
    let transport =
        TransportConfig { stream_statistics: true, stream_receive_window: 100_000, ..TransportConfig::default() };
    let (pend, pended) = teller();
    let pair = pair(transport, move |new| {
        let (pend, mut begun) = (pend.clone(), false);
        taken(new, move |_, event| {
            let StreamEvent::Receive(mut receive) = event else { return };
            // Nothing more is taken until the sender has been held back.
            if !std::mem::replace(&mut begun, true) {
                pend.lock().unwrap().send(receive.pend().unwrap()).unwrap();
            }
        });
    });
    let (told, tell) = mpsc::channel();
    let (last, ended) = teller();
    let handler = move |stream: &Stream, event: StreamEvent<'_>| {
        if let StreamEvent::ShutdownComplete = event {
            let last = last.clone();
            stream.inspect(move |stats| last.lock().unwrap().send(*stats).unwrap()).unwrap();
        }
    };
    let stream = pair.client.open_stream(Direction::Unidirectional, handler).unwrap();
    let look_until = |done: &dyn Fn(&StreamStats) -> bool| {
        let begun = Instant::now();
        loop {
            let told = told.clone();
            stream.inspect(move |stats| told.send(*stats).unwrap()).unwrap();
            let stats = tell.recv_timeout(PATIENCE).unwrap();
            if done(&stats) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{stats:?}");
        }
    };
    stream.send(pattern(1000), false, 0).unwrap();
    look_until(&|stats| (stats.bytes_sent, stats.bytes_received) == (1000, 0));
    look_until(&|stats| stats.blocked.unwrap().application > Duration::from_millis(50));
    stream.send(pattern(LEN), true, 0).unwrap();
    look_until(&|stats| stats.blocked.unwrap().stream_flow_control > Duration::from_millis(1));
    pended.recv_timeout(PATIENCE).unwrap().complete();
    let stats = ended.recv_timeout(PATIENCE).unwrap();
    assert_eq!(stats.bytes_sent, 1000 + LEN as u64);
    assert!(stats.blocked.unwrap().stream_flow_control > Duration::from_millis(1), "{stats:?}");
    drop((stream, pair));
}

/// What counts as complete when it is taken does so though the peer takes nothing, and does not a second time when the
/// stream is reset; what waits to be acknowledged waits on.
#[test]
fn a_send_may_be_complete_when_it_is_taken() {
    let small = TransportConfig { stream_receive_window: 1000, max_stream_receive_window: 1000, ..Default::default() };
    let pair = pair(small, |new| new.accept_into(Vec::new(), |_: &Stream, _: StreamEvent<'_>| {}).unwrap().detach());
    let (record, heard) = Record::new();
    let handler = move |_: &Stream, event: StreamEvent<'_>| record.note(format!("{event:?}"));
    let stream = pair.client.open_stream(Direction::Unidirectional, handler).unwrap();
    stream.send(pattern(100_000), false, 1).unwrap();
    let taken = SendOptions { context: Some(2), done_when_taken: true, ..SendOptions::default() };
    stream.send_with(pattern(100_000), taken).unwrap();
    let first = heard.iter().find(|word| word.starts_with("SendComplete")).unwrap();
    assert_eq!(first, "SendComplete { context: 2, canceled: false }");
    stream.reset(0u32.into()).unwrap();
    let rest: Vec<_> = heard.iter().take_while(|word| word != "ShutdownComplete").collect();
    let completed: Vec<_> = rest.iter().filter(|word| word.starts_with("SendComplete")).collect();
    assert_eq!(completed, ["SendComplete { context: 1, canceled: true }"]);
}

/// Tells when it is gone.
struct Memory(Arc<std::sync::atomic::AtomicBool>);

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        &[7; 1 << 16]
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Release);
    }
}

/// Who lends memory has it back when a call in a handler has ended what it was lent to.
#[test]
fn memory_comes_back_at_once_with_a_reset_and_with_a_close() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let configuration = configuration(TransportConfig::default());
    let registration = registration(1);
    let (server_record, _server_heard) = Record::new();
    let listener = echo_server(&registration, &configuration, loopback(), &server_record);
    let (tell, told) = mpsc::channel();
    let handler = move |connection: &Connection, event: tercel::ConnectionEvent<'_>| {
        if !matches!(event, tercel::ConnectionEvent::Connected { .. }) {
            return;
        }
        let lend = || {
            let gone = Arc::new(AtomicBool::new(false));
            let stream = connection.open_stream(Direction::Bidirectional, |_: &Stream, _: StreamEvent<'_>| {}).unwrap();
            stream.send(Bytes::from_owner(Memory(gone.clone())), true, 0).unwrap();
            (stream, gone)
        };
        let (reset, closed) = (lend(), lend());
        let before = reset.1.load(Ordering::Acquire) || closed.1.load(Ordering::Acquire);
        reset.0.reset(0u32.into()).unwrap();
        connection.close(0u32.into(), Bytes::new());
        tell.send([before, reset.1.load(Ordering::Acquire), closed.1.load(Ordering::Acquire)]).unwrap();
    };
    let connect = Connect::new(listener.local_address(), "localhost");
    let _connection = registration.connect(&configuration, connect, handler).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), [false, true, true]);
}
