//! What the threads share: the objects that there are, and what is promised of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

use tercel_msquic::abi::*;

use crate::support::*;

/// A small generator (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Once in so many times.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        match of {
            [] => None,
            of => Some(of[self.below(of.len() as u64) as usize]),
        }
    }
}

/// Of the threads that callbacks come on, which are not ours.
static SEED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static OF_THREAD: RefCell<Random> = RefCell::new(Random(SEED.fetch_add(0x1234_5678_9abc, Ordering::Relaxed)));
}

pub(crate) fn seed_callbacks(seed: u64) {
    SEED.store(seed.rotate_left(32), Ordering::Relaxed);
}

/// The generator of whatever thread this is.
pub(crate) fn random() -> Random {
    OF_THREAD.with_borrow_mut(|random| Random(random.next()))
}

/// Buffers of the library's that a pending receive shows.
struct Shown(Vec<Buffer>);

// SAFETY: what they lead to is read under the lock of the map.
unsafe impl Send for Shown {}

/// See the [module](self).
#[derive(Default)]
pub(crate) struct World {
    pub(crate) connections: Mutex<Vec<Handle>>,
    pub(crate) streams: Mutex<Vec<Handle>>,
    pub(crate) listeners: Mutex<Vec<Handle>>,
    pub(crate) configurations: Mutex<Vec<Handle>>,
    /// Of the server, which closes them itself.
    pub(crate) accepted: Mutex<Vec<Handle>>,
    pub(crate) tickets: Mutex<Vec<Vec<u8>>>,
    /// Sends that were accepted and whose completion was not told.
    pub(crate) sends: AtomicI64,
    pub(crate) datagrams: AtomicI64,
    /// Credentials that are being loaded, and registrations that close behind their objects.
    pending: Mutex<i64>,
    settled: Condvar,
    /// Objects whose last event was told: nothing may follow.
    ended: Mutex<BTreeSet<usize>>,
    /// By stream: what is shown and not taken; `None` while it is closed.
    shown: Mutex<BTreeMap<usize, Option<Vec<Shown>>>>,
    /// By stream: memory that it receives into.
    lent: Mutex<BTreeMap<usize, Vec<Box<[u8]>>>>,
    pub(crate) calls: AtomicU64,
    pub(crate) events: AtomicU64,
}

impl World {
    pub(crate) fn any(&self, list: &Mutex<Vec<Handle>>, random: &mut Random) -> Handle {
        match random.below(20) {
            0 => Handle(std::ptr::without_provenance_mut(random.next() as usize)),
            1 => Handle::NULL,
            _ => random.one(&list.lock().unwrap()).unwrap_or(Handle::NULL),
        }
    }

    /// One that nobody else closes from now on.
    pub(crate) fn take(&self, list: &Mutex<Vec<Handle>>, random: &mut Random) -> Option<Handle> {
        let mut list = list.lock().unwrap();
        let at = random.below(list.len().max(1) as u64) as usize;
        (at < list.len()).then(|| list.swap_remove(at))
    }

    /// The same for a certain one; whether it was there.
    pub(crate) fn take_this(&self, list: &Mutex<Vec<Handle>>, handle: Handle) -> bool {
        let mut list = list.lock().unwrap();
        let at = list.iter().position(|other| *other == handle);
        at.map(|at| list.swap_remove(at)).is_some()
    }

    pub(crate) fn heard(&self, handle: Handle, last: bool) {
        self.events.fetch_add(1, Ordering::Relaxed);
        let mut ended = self.ended.lock().unwrap();
        let before = match last {
            true => !ended.insert(handle.0 as usize),
            false => ended.contains(&(handle.0 as usize)),
        };
        assert!(!before, "an event after the last one");
    }

    /// A stream shows this until the application has said that it took it, or closes it.
    pub(crate) fn shows(&self, stream: Handle, buffers: &[Buffer]) {
        if let Some(shown) = self.shown.lock().unwrap().entry(stream.0 as usize).or_insert_with(|| Some(Vec::new())) {
            shown.push(Shown(buffers.to_vec()));
        }
    }

    /// Reads what a stream shows: the sanitizer watches.
    pub(crate) fn look(&self, random: &mut Random) {
        let shown = self.shown.lock().unwrap();
        let from = random.next() as usize;
        let Some((_, Some(shown))) = shown.range(from..).next().or_else(|| shown.iter().next()) else { return };
        let mut sum = 0u64;
        for buffer in shown.iter().flat_map(|shown| &shown.0) {
            let bytes = unsafe { std::slice::from_raw_parts(buffer.buffer, buffer.length as usize) };
            sum += bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        }
        std::hint::black_box(sum);
    }

    /// Nobody looks any more.
    pub(crate) fn looked(&self, stream: Handle) {
        if let Some(Some(shown)) = self.shown.lock().unwrap().get_mut(&(stream.0 as usize)) {
            shown.clear();
        }
    }

    pub(crate) fn close_stream(&self, stream: Handle) {
        self.shown.lock().unwrap().insert(stream.0 as usize, None);
        unsafe { (api().stream_close)(stream) };
        self.shown.lock().unwrap().remove(&(stream.0 as usize));
        self.lent.lock().unwrap().remove(&(stream.0 as usize));
    }

    /// Lends memory to receive into.
    pub(crate) fn lend(&self, stream: Handle, len: usize) {
        let memory = vec![0; len].into_boxed_slice();
        let buffer = buffer(&memory);
        let at = memory.as_ptr();
        self.lent.lock().unwrap().entry(stream.0 as usize).or_default().push(memory);
        let status = unsafe { (api().stream_provide_receive_buffers)(stream, 1, &buffer) };
        if status.is_failure()
            && let Some(lent) = self.lent.lock().unwrap().get_mut(&(stream.0 as usize))
        {
            lent.retain(|memory| memory.as_ptr() != at);
        }
    }

    /// Nothing more is received on it. What it shows may lie in memory that was lent.
    pub(crate) fn take_back(&self, stream: Handle) {
        self.looked(stream);
        self.lent.lock().unwrap().remove(&(stream.0 as usize));
    }

    /// Something goes on that will be told of.
    pub(crate) fn begin(&self) {
        *self.pending.lock().unwrap() += 1;
    }

    pub(crate) fn finish(&self) {
        *self.pending.lock().unwrap() -= 1;
        self.settled.notify_all();
    }

    pub(crate) fn wait_until_settled(&self) {
        let settled = self.settled.wait_timeout_while(self.pending.lock().unwrap(), PATIENCE, |pending| *pending > 0);
        assert_eq!(*settled.unwrap().0, 0, "what was begun is told of");
    }
}

pub(crate) static WORLD: std::sync::LazyLock<World> = std::sync::LazyLock::new(World::default);
