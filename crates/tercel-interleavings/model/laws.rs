// What must hold, whoever comes first. Each law is checked in every interleaving of its threads: the
// worker's and two of the application's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::thread;
use tercel_proto::tls::{Alert, Verdict};

use crate::Bell;
use crate::cell::{ConnectionShared, Core, Event, Handler};
use crate::certificate::{PendingVerdict, Question};
use crate::operation::ConnectionOperation;
use crate::registration::RegistrationShared;
use crate::status::Error;
use crate::worker::{Letter, Mailbox, turn, work};

/// All laws.
pub fn all() {
    a_verdict_and_a_close_of_one_thread_keep_their_order();
    a_verdict_after_a_close_is_too_late();
    a_verdict_and_a_close_of_two_threads_agree_on_an_outcome();
    a_dropped_token_rejects();
    a_dropped_token_and_a_close_end_it_once();
    who_waits_learns_that_it_no_longer_matters();
    every_accepted_send_completes_once();
    a_send_that_waits_for_the_verdict_completes_once();
    the_first_close_wins();
    calls_from_handlers_do_not_call_handlers();
    a_call_that_fails_leaves_nothing_behind();
    no_letter_is_lost();
}

/// What the application hears, watched by the grammar of events.
#[derive(Default)]
struct Monitor {
    depth: AtomicUsize,
    // Not loom's: watching is no part of what is watched.
    events: std::sync::Mutex<Vec<Event>>,
}

impl Monitor {
    fn hear(&self, event: Event) {
        let mut events = self.events.lock().unwrap();
        let over = events.iter().any(|event| matches!(event, Event::ShutdownComplete { .. }));
        assert!(!over, "law: nothing follows SHUTDOWN_COMPLETE, but {event:?}");
        events.push(event);
    }

    fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    fn connected(&self) -> bool {
        self.events().contains(&Event::Connected)
    }

    /// The application's code, if it was its close that ended the connection.
    fn end(&self) -> Option<u64> {
        match self.events().last() {
            Some(Event::ShutdownComplete { code }) => *code,
            other => panic!("law: SHUTDOWN_COMPLETE is the last event, not {other:?}"),
        }
    }

    fn completions(&self, wanted: u64) -> usize {
        let of = |event: &&Event| matches!(event, Event::SendComplete { context, .. } if *context == wanted);
        self.events().iter().filter(of).count()
    }
}

/// A connection that waits for a verdict, and its application.
struct World {
    shared: Arc<ConnectionShared>,
    mailbox: Arc<Mailbox<Letter>>,
    monitor: Arc<Monitor>,
    core: Option<Box<Core>>,
    bell: Arc<Bell>,
}

impl World {
    /// `react` is what the application does upon an event.
    fn new(react: impl Fn(&Arc<ConnectionShared>, Event) + 'static) -> (Self, PendingVerdict) {
        let bell = Bell::new();
        let mailbox = Arc::new(Mailbox::new(0, bell.clone() as Arc<dyn crate::datapath::Datapath>));
        let registration = Arc::new(RegistrationShared { mailboxes: vec![mailbox.clone()] });
        let address = ([127, 0, 0, 1], 1).into();
        let shared = ConnectionShared::new(registration, 0, address, address);
        let question = Question::new(shared.clone(), None);
        let monitor = Arc::new(Monitor::default());
        let watch = monitor.clone();
        let handler: Handler = Arc::new(move |shared: &Arc<ConnectionShared>, event: Event| {
            assert_eq!(watch.depth.fetch_add(1, Ordering::Relaxed), 0, "law: no handler within a handler");
            watch.hear(event);
            react(shared, event);
            watch.depth.fetch_sub(1, Ordering::Relaxed);
        });
        let core = Some(Core::new(shared.clone(), question.clone(), handler));
        (Self { shared, mailbox, monitor, core, bell }, PendingVerdict::new(question))
    }

    fn app(&self) -> App {
        App(self.shared.clone())
    }

    /// The worker runs on this thread until the connection is complete and `threads` have ended; what
    /// lies there then is looked at, too.
    fn run(&mut self, threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
        let core = work(self.core.take().unwrap(), &self.mailbox, &self.bell);
        for thread in threads {
            thread.join().unwrap();
        }
        self.core = Some(turn(core, &self.mailbox));
    }
}

/// The application's handle.
#[derive(Clone)]
struct App(Arc<ConnectionShared>);

impl App {
    fn submit(&self, operation: ConnectionOperation) -> Result<(), Error> {
        self.0.submit(operation)
    }

    fn close(&self, code: u64) {
        let _ = self.submit(ConnectionOperation::Close { code });
    }

    fn send(&self, context: u64) -> bool {
        self.submit(ConnectionOperation::Send { context }).is_ok()
    }
}

/// In every interleaving, if `TERCEL_INTERLEAVINGS=all`; else in all those in which threads are
/// interrupted no more than four times.
fn check(law: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    if std::env::var("TERCEL_INTERLEAVINGS").as_deref() != Ok("all") {
        model.preemption_bound = Some(4);
    }
    model.check(law);
}

/// Section 3: accept, then close: the handshake completes, then the connection closes.
pub fn a_verdict_and_a_close_of_one_thread_keep_their_order() {
    check(|| {
        let (mut world, token) = World::new(|_, _| {});
        let (judge, other) = (world.app(), world.app());
        let accepted = Arc::new(AtomicUsize::new(0));
        let tell = accepted.clone();
        let threads = [
            thread::spawn(move || {
                tell.store(usize::from(token.accept().is_ok()), Ordering::Relaxed);
                judge.close(7);
            }),
            thread::spawn(move || {
                other.send(1);
            }),
        ];
        world.run(threads);
        assert_eq!(accepted.load(Ordering::Relaxed), 1, "law: nothing came before the verdict");
        assert_eq!(world.monitor.end(), Some(7));
        // The close is called before the worker has told of the verdict, or after; only in the first case
        // CONNECTED is left out, because nothing may follow a close that has returned.
        let position = |wanted: Event| world.monitor.events().iter().position(|event| *event == wanted);
        let end = position(Event::ShutdownComplete { code: Some(7) });
        assert!(position(Event::Connected) < end, "law: a close does not overtake a verdict");
        assert!(
            world.core.as_ref().is_some_and(|core| core.was_accepted()),
            "law: a close does not overtake a verdict"
        );
    });
}

/// Section 3: close, then accept: no CONNECTED, and the verdict says that it is too late.
pub fn a_verdict_after_a_close_is_too_late() {
    check(|| {
        let (mut world, token) = World::new(|_, _| {});
        let (judge, other) = (world.app(), world.app());
        let threads = [
            thread::spawn(move || {
                judge.close(7);
                assert!(token.accept().is_err(), "law: a verdict after the end says so");
            }),
            thread::spawn(move || {
                other.send(1);
            }),
        ];
        world.run(threads);
        assert!(!world.monitor.connected(), "law: no CONNECTED after a close has returned");
        assert_eq!(world.monitor.end(), Some(7));
    });
}

pub fn a_verdict_and_a_close_of_two_threads_agree_on_an_outcome() {
    check(|| {
        let (mut world, token) = World::new(|_, _| {});
        let closer = world.app();
        let accepted = Arc::new(AtomicUsize::new(0));
        let tell = accepted.clone();
        let threads = [
            thread::spawn(move || tell.store(usize::from(token.accept().is_ok()), Ordering::Relaxed)),
            thread::spawn(move || closer.close(7)),
        ];
        world.run(threads);
        let accepted = accepted.load(Ordering::Relaxed) == 1;
        assert_eq!(
            world.core.as_ref().map(|core| core.was_accepted()),
            Some(accepted),
            "law: the outcome is what was said"
        );
        assert_eq!(world.monitor.end(), Some(7));
    });
}

/// Section 2: dropping the token rejects.
pub fn a_dropped_token_rejects() {
    check(|| {
        let (mut world, token) = World::new(|_, _| {});
        let other = world.app();
        let threads = [
            thread::spawn(move || drop(token)),
            thread::spawn(move || {
                other.send(1);
            }),
        ];
        world.run(threads);
        assert!(!world.monitor.connected());
        assert_eq!(world.monitor.end(), None);
    });
}

pub fn a_dropped_token_and_a_close_end_it_once() {
    check(|| {
        let (mut world, token) = World::new(|_, _| {});
        let closer = world.app();
        let threads = [thread::spawn(move || drop(token)), thread::spawn(move || closer.close(7))];
        world.run(threads);
        assert!(!world.monitor.connected());
        let ends =
            world.monitor.events().iter().filter(|event| matches!(event, Event::ShutdownComplete { .. })).count();
        assert_eq!(ends, 1, "law: one end");
    });
}

/// Section 2: whoever holds the token can learn that it no longer matters.
pub fn who_waits_learns_that_it_no_longer_matters() {
    check(|| {
        let (mut world, token) = World::new(|_, _| {});
        let closer = world.app();
        let threads = [
            thread::spawn(move || {
                loom::future::block_on(token.cancelled());
                assert!(token.is_cancelled());
                assert!(token.give(Verdict::Reject(Alert::UNKNOWN_CA)).is_err());
            }),
            thread::spawn(move || closer.close(7)),
        ];
        world.run(threads);
        assert_eq!(world.monitor.end(), Some(7));
    });
}

/// Section 5: every accepted send gets exactly one completion; a call that fails causes no event.
pub fn every_accepted_send_completes_once() {
    check(|| {
        let (mut world, token) = World::new(|_, _| {});
        let (sender, closer) = (world.app(), world.app());
        let accepted: Arc<[AtomicUsize; 2]> = Arc::default();
        let tell = accepted.clone();
        let threads = [
            thread::spawn(move || {
                for context in 0..2 {
                    tell[context].store(usize::from(sender.send(context as u64)), Ordering::Relaxed);
                }
            }),
            thread::spawn(move || {
                closer.close(7);
            }),
        ];
        world.run(threads);
        drop(token);
        for context in 0..2 {
            let accepted = accepted[context].load(Ordering::Relaxed);
            assert_eq!(
                world.monitor.completions(context as u64),
                accepted,
                "law: one completion for each accepted send"
            );
        }
    });
}

pub fn a_send_that_waits_for_the_verdict_completes_once() {
    check(|| {
        let (mut world, token) = World::new(|_, _| {});
        let (sender, closer) = (world.app(), world.app());
        let sent = Arc::new(AtomicUsize::new(0));
        let tell = sent.clone();
        let threads = [
            thread::spawn(move || {
                tell.store(usize::from(sender.send(1)), Ordering::Relaxed);
                let _ = token.accept();
            }),
            thread::spawn(move || closer.close(7)),
        ];
        world.run(threads);
        let sent = sent.load(Ordering::Relaxed);
        assert_eq!(world.monitor.completions(1), sent, "law: one completion for each accepted send");
    });
}

/// Section 3: a later close changes neither code nor kind.
pub fn the_first_close_wins() {
    check(|| {
        let (mut world, token) = World::new(|_, _| {});
        let (one, two) = (world.app(), world.app());
        let threads = [
            thread::spawn(move || {
                one.close(1);
                one.close(2);
            }),
            thread::spawn(move || two.close(3)),
        ];
        world.run(threads);
        assert!(matches!(world.monitor.end(), Some(1 | 3)), "law: the first close wins");
        assert!(token.is_cancelled(), "law: a close cancels the question");
    });
}

/// Section 5: callbacks of a connection never run recursively; calls from within take effect at once.
pub fn calls_from_handlers_do_not_call_handlers() {
    check(|| {
        let (mut world, token) = World::new(|shared, event| {
            let app = App(shared.clone());
            match event {
                Event::Connected => {
                    assert!(app.send(10), "a call from a handler takes effect at once");
                    app.close(5);
                    assert!(!app.send(11), "law: nothing is accepted after a close from a handler");
                }
                _ => assert!(
                    event == Event::ShutdownComplete { code: Some(5) } || !app.send(12) || event != Event::Connected
                ),
            }
        });
        let other = world.app();
        let threads = [
            thread::spawn(move || {
                let _ = token.accept();
            }),
            thread::spawn(move || {
                other.send(1);
            }),
        ];
        world.run(threads);
        assert_eq!(world.monitor.end(), Some(5));
        assert_eq!(world.monitor.completions(10), 1);
        assert_eq!(world.monitor.completions(11), 0);
    });
}

/// Section 5: a call that fails causes no event, also while the worker ends: it leaves nothing behind.
pub fn a_call_that_fails_leaves_nothing_behind() {
    check(|| {
        let (world, token) = World::new(|_, _| {});
        let apps = [world.app(), world.app()];
        let accepted = Arc::new(AtomicUsize::new(0));
        let threads = apps.map(|app| {
            let accepted = accepted.clone();
            thread::spawn(move || {
                accepted.fetch_add(usize::from(app.send(1)), Ordering::Relaxed);
            })
        });
        drop(world.mailbox.close());
        let left = world.shared.queue.end().len();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(accepted.load(Ordering::Relaxed), left, "law: what was not accepted is not done");
        drop(token);
    });
}

/// Two senders and a worker that sleeps as soon as it may.
pub fn no_letter_is_lost() {
    check(|| {
        let bell = Bell::new();
        let mailbox = Arc::new(Mailbox::new(0, bell.clone() as Arc<dyn crate::datapath::Datapath>));
        let threads = [(0, 2), (10, 1)].map(|(first, each)| {
            let mailbox = mailbox.clone();
            thread::spawn(move || {
                for letter in first..first + each {
                    mailbox.send(letter).unwrap();
                }
            })
        });
        let mut letters = Vec::new();
        while letters.len() < 3 {
            mailbox.collect(&mut letters);
            if letters.len() < 3 && mailbox.sleep() {
                bell.wait();
            }
        }
        letters.retain(|letter| *letter != 10);
        assert_eq!(letters, [0, 1], "law: letters of one thread keep their order, and each comes once");
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(mailbox.close().is_empty());
        assert_eq!(mailbox.send(99), Err(99), "law: a worker that has ended takes no letters");
    });
}
