//! Two ends joined by a line that loses, repeats and reorders frames.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy)]
enum Step {
    Open(bool, bool),
    Send(bool, u8, u16),
    Finish(bool, u8),
    Reset(bool, u8),
    Stop(bool, u8),
    Read(bool, u8, u16),
    Priority(bool, u8, i8),
    /// A packet leaves and arrives, now or behind what is sent later, or never, or twice.
    Transmit(bool, u16, Fate),
    /// Something late arrives.
    Late(bool),
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Arrives,
    Late,
    Lost,
    Twice,
    /// It arrives and its acknowledgement does not; it counts as lost.
    Unconfirmed,
}

fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![
        4 => Just(Fate::Arrives), 1 => Just(Fate::Late), 1 => Just(Fate::Lost), 1 => Just(Fate::Twice),
        1 => Just(Fate::Unconfirmed),
    ];
    prop_oneof![
        2 => any::<(bool, bool)>().prop_map(|(end, uni)| Step::Open(end, uni)),
        6 => any::<(bool, u8, u16)>().prop_map(|(end, at, len)| Step::Send(end, at, len % 400)),
        2 => any::<(bool, u8)>().prop_map(|(end, at)| Step::Finish(end, at)),
        1 => any::<(bool, u8)>().prop_map(|(end, at)| Step::Reset(end, at)),
        1 => any::<(bool, u8)>().prop_map(|(end, at)| Step::Stop(end, at)),
        6 => any::<(bool, u8, u16)>().prop_map(|(end, at, max)| Step::Read(end, at, max % 300 + 1)),
        1 => any::<(bool, u8, i8)>().prop_map(|(end, at, value)| Step::Priority(end, at, value)),
        8 => (any::<bool>(), 60u16..1400, fate).prop_map(|(end, size, fate)| Step::Transmit(end, size, fate)),
        2 => any::<bool>().prop_map(Step::Late),
    ]
}

/// One direction of one stream, as the applications know it.
#[derive(Debug, Default, Clone, Copy)]
struct Flow {
    written: u64,
    finished: bool,
    reset: bool,
    stopped: bool,
    read: u64,
    ended: bool,
}

#[derive(Default)]
struct End {
    known: Vec<StreamId>,
    late: Vec<(Vec<u8>, SentFrames)>,
}

fn byte(id: StreamId, sender: Role, at: u64) -> u8 {
    (id.into_wire() * 31 + u64::from(sender == Role::Client) * 17 + at * 7 + at / 256) as u8
}

struct Line {
    ends: [Streams; 2],
    sides: [End; 2],
    flows: BTreeMap<(StreamId, bool), Flow>,
}

impl Line {
    fn new(config: &TransportConfig) -> Self {
        Self {
            ends: [streams(Role::Client, config), streams(Role::Server, config)],
            sides: [End::default(), End::default()],
            flows: BTreeMap::new(),
        }
    }

    fn pick(&self, end: bool, at: u8) -> Option<StreamId> {
        let known = &self.sides[usize::from(end)].known;
        (!known.is_empty()).then(|| known[usize::from(at) % known.len()])
    }

    const fn role(end: bool) -> Role {
        if end { Role::Server } else { Role::Client }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Open(end, uni) => {
                let direction = if uni { Direction::Unidirectional } else { Direction::Bidirectional };
                if let Ok(id) = self.ends[usize::from(end)].open(direction) {
                    self.sides[usize::from(end)].known.push(id);
                }
            }
            Step::Send(end, at, len) => {
                let Some(id) = self.pick(end, at) else { return };
                let flow = self.flows.entry((id, end)).or_default();
                let data: Bytes = (0..u64::from(len)).map(|i| byte(id, Self::role(end), flow.written + i)).collect();
                if self.ends[usize::from(end)].send(id, data, false).is_ok() {
                    flow.written += u64::from(len);
                }
            }
            Step::Finish(end, at) => {
                let Some(id) = self.pick(end, at) else { return };
                let done = self.ends[usize::from(end)].send(id, Bytes::new(), true).is_ok();
                self.flows.entry((id, end)).or_default().finished |= done;
            }
            Step::Reset(end, at) => {
                let Some(id) = self.pick(end, at) else { return };
                let done = self.ends[usize::from(end)].reset(id, CODE.into()).is_ok();
                self.flows.entry((id, end)).or_default().reset |= done;
            }
            Step::Stop(end, at) => {
                let Some(id) = self.pick(end, at) else { return };
                let done = self.ends[usize::from(end)].stop_sending(id, CODE.into()).is_ok();
                self.flows.entry((id, !end)).or_default().stopped |= done;
            }
            Step::Read(end, at, max) => {
                let Some(id) = self.pick(end, at) else { return };
                self.read(end, id, max.into());
            }
            Step::Priority(end, at, value) => {
                let Some(id) = self.pick(end, at) else { return };
                let _ = self.ends[usize::from(end)].set_priority(id, value.into());
            }
            Step::Transmit(end, size, fate) => self.transmit(end, size.into(), fate),
            Step::Late(end) => {
                let late = &mut self.sides[usize::from(end)].late;
                if !late.is_empty() {
                    let (bytes, sent) = late.swap_remove(late.len() / 2);
                    self.arrive(end, &bytes);
                    sent.into_iter().for_each(|frame| self.ends[usize::from(end)].acked(frame));
                }
            }
        }
        for end in [false, true] {
            while let Some(event) = self.ends[usize::from(end)].poll_event() {
                if let StreamEvent::Opened(id) = event {
                    self.sides[usize::from(end)].known.push(id);
                }
            }
        }
    }

    fn read(&mut self, end: bool, id: StreamId, max: usize) {
        let streams = &mut self.ends[usize::from(end)];
        let flow = self.flows.entry((id, !end)).or_default();
        match streams.read(id, max) {
            Ok(Read::Data(data)) => {
                assert!(data.len() <= max && !data.is_empty());
                for (i, read) in data.iter().enumerate() {
                    assert_eq!(*read, byte(id, Self::role(!end), flow.read + i as u64), "{id:?}");
                }
                flow.read += data.len() as u64;
                assert!(flow.read <= flow.written);
                streams.consumed(NOW, RTT, id, data.len() as u64);
            }
            Ok(Read::Finished) => {
                assert!(flow.finished && flow.read == flow.written && !flow.ended);
                flow.ended = true;
            }
            Ok(Read::Reset(_)) => {
                assert!((flow.reset || flow.stopped) && !flow.ended);
                flow.ended = true;
            }
            Ok(Read::Blocked) | Err(_) => {}
        }
    }

    fn arrive(&mut self, from: bool, bytes: &[u8]) {
        deliver(&mut self.ends[usize::from(!from)], bytes).unwrap();
    }

    fn transmit(&mut self, end: bool, size: usize, fate: Fate) {
        let (bytes, sent) = packet(&mut self.ends[usize::from(end)], size);
        if bytes.is_empty() {
            return;
        }
        match fate {
            Fate::Late => return self.sides[usize::from(end)].late.push((bytes, sent)),
            Fate::Lost => {}
            Fate::Arrives | Fate::Unconfirmed => self.arrive(end, &bytes),
            Fate::Twice => {
                self.arrive(end, &bytes);
                self.arrive(end, &bytes);
            }
        }
        let confirmed = matches!(fate, Fate::Arrives | Fate::Twice);
        for frame in sent {
            match confirmed {
                true => self.ends[usize::from(end)].acked(frame),
                false => self.ends[usize::from(end)].lost(frame),
            }
        }
    }

    /// Everything is finished, and the line is good: all must arrive, and nothing be left.
    fn settle(&mut self) {
        for end in [false, true] {
            for id in self.sides[usize::from(end)].known.clone() {
                let _ = self.ends[usize::from(end)].send(id, Bytes::new(), true).map(|()| {
                    self.flows.entry((id, end)).or_default().finished = true;
                });
            }
        }
        for _ in 0..5000 {
            for end in [false, true] {
                while !self.sides[usize::from(end)].late.is_empty() {
                    self.take(Step::Late(end));
                }
                self.take(Step::Transmit(end, 1200, Fate::Arrives));
                for id in self.sides[usize::from(end)].known.clone() {
                    let _ = self.ends[usize::from(end)].send(id, Bytes::new(), true).map(|()| {
                        self.flows.entry((id, end)).or_default().finished = true;
                    });
                    self.read(end, id, 5000);
                }
            }
            if self.ends.iter().all(|end| end.streams.is_empty() && !end.wants_to_send()) {
                break;
            }
        }
        for (at, end) in self.ends.iter().enumerate() {
            assert!(end.streams.is_empty(), "end {at} still has {:?}", end.streams);
            assert!(!end.wants_to_send());
        }
        for ((id, _), flow) in &self.flows {
            let whole = flow.finished && !flow.reset && !flow.stopped;
            assert!(!whole || flow.ended && flow.read == flow.written, "{id:?} {flow:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    // RFC 9000 section 2.2#1#2.
    fn two_ends_agree_whatever_the_line_does(
        steps in prop::collection::vec(step(), 0..300),
        window in prop::sample::select(vec![50u64, 400, 100_000]),
    ) {
        let config = TransportConfig {
            stream_receive_window: window, max_stream_receive_window: window * 2, receive_window: window * 2,
            max_receive_window: window * 4, max_bidi_streams: 4, max_uni_streams: 4, ..TransportConfig::default()
        };
        let mut line = Line::new(&config);
        for step in steps {
            line.take(step);
        }
        line.settle();
    }
}
