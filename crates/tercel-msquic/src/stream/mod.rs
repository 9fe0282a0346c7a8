//! Streams: opened, started now or when there is a connection, and from then on streams of Tercel's.
//!
//! | file | holds |
//! |---|---|
//! | `send` | what is sent, and whose memory it is |
//! | `receive` | what is received, and how much of it was taken |
//! | `memory` | where the application wants it, if it lends memory for it |
//! | `events` | what is told of it |
//! | `end` | shutting down, and closing the handle |
//! | `spare` | memory for those to come |
//! | `calls` | the functions |

pub(crate) mod calls;
mod end;
mod events;
mod memory;
mod receive;
mod send;
mod spare;

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use tercel::{AtLimit, Direction, NewStream, ReceiveMemory, SendOptions, StreamId, StreamOptions, VarInt};

use crate::abi::{self, Handle, Status, StreamCallback, StreamEvent, stream_start};
use crate::brief::{Brief, Hold};
use crate::called;
use crate::connection::{Connection, Manners, Reference};
use crate::handle;
use crate::outcome::status_of;
use crate::target::Target;

use self::events::Events;
use self::memory::Memory;
use self::receive::{Answer, Receiving, Shown};
use self::send::{First, Outstanding};

/// What was asked of a stream before it could be done.
enum Call {
    Send(Vec<(Bytes, SendOptions)>),
    Finish,
    Reset { code: VarInt, reliable: u64 },
    Stop(VarInt),
    SetReceiveEnabled(bool),
    Lend(Vec<Box<dyn ReceiveMemory>>),
}

/// Mostly nothing.
#[allow(clippy::box_collection, reason = "a Vec has three words, and this one")]
type Calls = Option<Box<Vec<Call>>>;

/// How far a stream has come.
enum Stage {
    /// Not one of Tercel's yet: not started, or waiting for its connection.
    Before { started: bool, calls: Calls },
    /// Left to who hears it: the handle goes with this object.
    Live(tercel::Stream),
    /// It held something, or has never been live; and is over.
    Over,
}

impl State {
    /// Of a stream that has not started; or of one of the peer's, which is not [live](Stage::Live) yet.
    fn new(local: bool) -> Self {
        Self {
            stage: if local { Stage::OPENED } else { Stage::Over },
            start_flags: 0,
            priority: PRIORITY,
            reliable_offset: 0,
            sends: Outstanding::default(),
            receiving: Receiving::Nothing,
            memory: Memory::None,
            early: 0,
        }
    }
}

impl Stage {
    const OPENED: Self = Self::Before { started: false, calls: None };

    fn live(live: tercel::Stream) -> Self {
        live.leave_to_handler();
        Self::Live(live)
    }
}

struct State {
    stage: Stage,
    start_flags: u32,
    priority: u16,
    reliable_offset: u64,
    sends: Outstanding,
    receiving: Receiving,
    memory: Memory,
    /// Bytes that were sent as early data.
    early: u64,
}

/// See the [module](self).
pub(crate) struct Stream {
    handle: Handle,
    connection: Reference,
    direction: Direction,
    local: bool,
    target: Target<StreamCallback>,
    state: Brief<State>,
    manners: Manners,
    /// [`NO_ID`] before it has one.
    id: AtomicU64,
    /// How much to have under way.
    ideal: AtomicU64,
    first: First,
    shown: Shown,
    answer: Answer,
    /// The application hears of the peer's stream, and may say that it is to be received into its memory.
    offered: AtomicBool,
    /// SEND_SHUTDOWN_COMPLETE was told. Changed by who is inside the gate.
    send_ended: AtomicBool,
    /// The application is in `StreamClose`.
    closing: AtomicBool,
    /// Its handle was closed before it was over: its connection has it until it is. Changed under the lock of the table.
    stays: AtomicBool,
    /// The peer may open another only when the handle is closed.
    held: AtomicBool,
    /// It may receive into memory of the application's, or keep what was received for it. Once so it stays so.
    holds: AtomicBool,
    /// The application has heard the last event. Changed by who is inside the gate.
    over: AtomicBool,
    /// Who hears it tells the last event. Of those who are inside the gate.
    tells_last: AtomicBool,
    /// Who hears it has two references. Changed by who is inside the gate.
    heard_doubly: AtomicBool,
}

const NO_ID: u64 = u64::MAX;

/// A stream of which somebody else has a reference for as long as this is used: it is not counted.
pub(crate) struct Lent(ManuallyDrop<Arc<Stream>>);

impl Lent {
    /// # Safety
    /// There is another reference when this is used.
    unsafe fn of(stream: &Arc<Stream>) -> Self {
        // SAFETY: it is never dropped, and otherwise as demanded of the caller.
        Self(ManuallyDrop::new(unsafe { std::ptr::read(stream) }))
    }
}

impl Deref for Lent {
    type Target = Arc<Stream>;

    fn deref(&self) -> &Arc<Stream> {
        &self.0
    }
}

/// The priority of streams that were given none.
const PRIORITY: u16 = 0x7fff;

/// A priority as Tercel has it, where that of streams that were given none is zero.
fn relative(priority: u16) -> i32 {
    i32::from(priority) - i32::from(PRIORITY)
}

/// How much to have under way, as long as nothing else is told.
const IDEAL: u64 = 131_072;

impl Stream {
    /// Makes one. The state of one of the peer's is [held](Brief::held) by who makes it.
    fn make(
        connection: &Arc<Connection>,
        direction: Direction,
        local: bool,
        manners: Manners,
        target: Target<StreamCallback>,
    ) -> Result<Arc<Self>, Status> {
        handle::insert_stream(connection.handle(), |handle| {
            spare::put(|| Self {
                handle,
                connection: Reference::of(connection),
                direction,
                local,
                target,
                state: Brief::made(State::new(local), !local),
                manners,
                id: AtomicU64::new(NO_ID),
                ideal: AtomicU64::new(IDEAL),
                first: First::default(),
                shown: Shown::default(),
                answer: Answer::default(),
                offered: AtomicBool::new(false),
                send_ended: AtomicBool::new(direction == Direction::Unidirectional && !local),
                closing: AtomicBool::new(false),
                stays: AtomicBool::new(false),
                held: AtomicBool::new(false),
                holds: AtomicBool::new(false),
                over: AtomicBool::new(false),
                tells_last: AtomicBool::new(false),
                heard_doubly: AtomicBool::new(false),
            })
        })
    }

    /// A stream that the peer opened. `None`: it is refused. By the worker of the connection.
    ///
    /// # Safety
    /// What this gives is not used any more when the handler of the connection returns that hears of the stream.
    pub(crate) unsafe fn of_peer(connection: &Arc<Connection>, new: NewStream) -> Option<Lent> {
        let (direction, manners) = (new.direction(), connection.manners());
        let stream = Self::make(connection, direction, false, manners, Target::nobody()).ok()?;
        stream.id.store(new.id().into_wire(), Ordering::Release);
        let handle = stream.handle;
        // SAFETY: who hears the stream has it until its last event, and is told none before the connection's handler has
        // returned; if it is not accepted this is used no more.
        let lent = unsafe { Lent::of(&stream) };
        let accepted = new.accept(Events::new(stream, 0));
        // SAFETY: it was made so just now. Nobody who closes the handle lets go of the stream before this does.
        let mut state = unsafe { lent.state.held() };
        match accepted {
            Ok(live) => {
                state.stage = Stage::live(live);
                drop(state);
                Some(lent)
            }
            Err(_) => {
                drop(state);
                Self::refuse(handle);
                None
            }
        }
    }

    pub(crate) const fn handle(&self) -> Handle {
        self.handle
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    fn state(&self) -> Hold<'_, State> {
        self.state.lock()
    }

    pub(crate) const fn target(&self) -> &Target<StreamCallback> {
        &self.target
    }

    /// Whether the application has taken it, or has closed it already.
    pub(crate) fn has_handler(&self) -> bool {
        self.target.get().is_some() || self.closing.load(Ordering::Acquire)
    }

    /// Whether the application is closing the handle, or has closed it.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The handle is closed now. Whether its connection has it still, since it is not over.
    pub(crate) fn stays_when_closed(&self) -> bool {
        let stays = !self.is_over();
        self.stays.store(stays, Ordering::Release);
        stays
    }

    /// Nothing more is told: its connection has it no more.
    #[inline]
    fn stay_no_longer(&self) {
        if self.stays.load(Ordering::Acquire) {
            handle::forget(self.handle);
        }
    }

    /// Whether it can have something to tell.
    pub(crate) fn was_started(&self) -> bool {
        !matches!(self.state().stage, Stage::Before { started: false, .. })
    }

    pub(crate) fn id(&self) -> Option<u64> {
        Some(self.id.load(Ordering::Acquire)).filter(|id| *id != NO_ID)
    }

    /// How many bytes were sent as early data, once the sending part is done.
    ///
    /// # Errors
    /// [`Status::INVALID_STATE`]: it is not.
    pub(crate) fn early(&self) -> Result<u64, Status> {
        match self.send_ended.load(Ordering::Acquire) && self.id().is_some() {
            true => Ok(self.state().early),
            false => Err(Status::INVALID_STATE),
        }
    }

    /// A stream of the peer's: another one may follow it only when its handle is closed.
    pub(crate) fn hold(&self, live: &tercel::Connection) {
        let Some(id) = self.id() else { return };
        self.held.store(true, Ordering::Release);
        // On a connection that is over nothing follows.
        let _ = live.hold_stream(StreamId::from_wire(id));
        if self.closing.load(Ordering::Acquire) {
            self.release();
        }
    }

    /// Its handle is closed.
    #[inline]
    fn release(&self) {
        if self.held.load(Ordering::Acquire) {
            self.release_held();
        }
    }

    #[cold]
    fn release_held(&self) {
        if self.held.swap(false, Ordering::AcqRel)
            && let (Some(id), Some(live)) = (self.id(), self.connection.live())
        {
            let _ = live.release_stream(StreamId::from_wire(id));
        }
    }

    /// Why a call fails: `status`, or that the peer has ended the connection.
    #[cold]
    fn or_aborted(&self, status: Status) -> Status {
        self.connection.late().filter(|late| *late == Status::ABORTED).unwrap_or(status)
    }

    pub(crate) fn ideal(&self) -> u64 {
        self.ideal.load(Ordering::Relaxed)
    }

    pub(crate) fn priority(&self) -> u16 {
        self.state().priority
    }

    /// # Errors
    /// It has ended.
    pub(crate) fn set_priority(&self, priority: u16) -> Result<(), Status> {
        let mut state = self.state();
        state.priority = priority;
        match &state.stage {
            Stage::Live(live) if !self.is_over() => {
                live.set_priority(relative(priority)).map_err(|error| status_of(&error))
            }
            _ => Ok(()),
        }
    }

    /// How much is delivered if it is reset.
    pub(crate) fn reliable_offset(&self) -> u64 {
        self.state().reliable_offset
    }

    /// # Errors
    /// [`Status::INVALID_STATE`]: the peer cannot do that.
    pub(crate) fn set_reliable_offset(&self, offset: u64) -> Result<(), Status> {
        let wanted = self.connection.settings().flags & abi::settings::flags::RELIABLE_RESET_ENABLED != 0;
        let able = self
            .connection
            .look(|look| look.peer_parameters().is_some_and(|peer| peer.reset_stream_at || peer.reliable_reset));
        if !wanted || !able? || self.is_over() {
            return Err(Status::INVALID_STATE);
        }
        self.state().reliable_offset = offset;
        Ok(())
    }

    /// What it has done so far.
    ///
    /// # Errors
    /// [`Status::INVALID_STATE`]: it is not running; or to wait would be to wait for oneself.
    pub(crate) fn look(&self) -> Result<tercel::StreamStats, Status> {
        let gate = self.connection.gate();
        if gate.is_own_thread() && !self.connection.is_in_callback() {
            return Err(Status::INVALID_STATE);
        }
        let (tell, told) = std::sync::mpsc::channel();
        match &self.state().stage {
            Stage::Live(live) => {
                let tell = move |stats: &tercel::StreamStats| {
                    // Whoever has asked waits for the answer.
                    let _ = tell.send(*stats);
                };
                live.inspect(tell).map_err(|_| Status::INVALID_STATE)?;
            }
            _ => return Err(Status::INVALID_STATE),
        }
        told.recv().map_err(|_| Status::INVALID_STATE)
    }

    /// Starts it, now or when there is a connection.
    ///
    /// # Errors
    /// [`Status::INVALID_STATE`], [`Status::ABORTED`]: nothing has changed.
    fn start(self: &Arc<Self>, flags: u32) -> Result<(), Status> {
        let mut state = self.state();
        let Stage::Before { started: started @ false, .. } = &mut state.stage else {
            return Err(Status::INVALID_STATE);
        };
        *started = true;
        let before = std::mem::replace(&mut state.start_flags, flags);
        let started = self.connection.when_live(self, |connection| self.open_on(&mut state, connection));
        match started {
            Ok(Some(Err(status))) => {
                drop(state);
                self.never_started(status);
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(status) => {
                state.start_flags = before;
                if let Stage::Before { started, .. } = &mut state.stage {
                    *started = false;
                }
                Err(status)
            }
        }
    }

    /// There is a connection to start it on.
    pub(crate) fn start_on(self: &Arc<Self>, connection: &tercel::Connection) {
        let opened = self.open_on(&mut self.state(), connection);
        if let Err(status) = opened {
            self.never_started(status);
        }
    }

    /// Opens it on a connection, if it waits for that. Nothing is told within this.
    fn open_on(self: &Arc<Self>, state: &mut State, connection: &tercel::Connection) -> Result<(), Status> {
        let Stage::Before { started: true, calls } = &mut state.stage else { return Ok(()) };
        let calls = calls.take();
        let flags = state.start_flags;
        let options = StreamOptions {
            at_limit: match flags & stream_start::FAIL_BLOCKED != 0 {
                true => AtLimit::Fail,
                false => AtLimit::Ahead,
            },
            announce: flags & stream_start::IMMEDIATE != 0,
            priority: relative(state.priority),
        };
        // Its handler waits for the state; nothing of it runs within these calls.
        let events = Events::new(self.clone(), flags);
        let opened = match state.memory.is_lent() && self.direction == Direction::Bidirectional {
            // What was lent so far is among the calls: nothing is received before them without room for it.
            true => connection.open_stream_into_memory(options, Vec::new(), events),
            false => connection.open_stream_with(self.direction, options, events),
        };
        match opened {
            Ok(live) => {
                if let Some(calls) = calls {
                    Call::apply_all(*calls, &live);
                }
                state.stage = Stage::live(live);
                Ok(())
            }
            Err(error) => Err(status_of(&error)),
        }
    }

    /// Does what was asked, or keeps it until it can be done.
    fn call(&self, state: &mut State, call: Call) -> Result<(), Status> {
        match &mut state.stage {
            Stage::Before { calls, .. } => {
                calls.get_or_insert_default().push(call);
                Ok(())
            }
            Stage::Live(live) if !self.is_over() => call.apply(live),
            Stage::Live(_) | Stage::Over => Err(Status::INVALID_STATE),
        }
    }

    /// Calls the application, unless it has heard the last event. Gives what it answered; the event is as it left it.
    fn tell(self: &Arc<Self>, event: &mut StreamEvent) -> Status {
        let _pass = self.connection.gate().enter();
        self.tell_inside(event)
    }

    /// The same, by who is inside the gate.
    #[inline(always)]
    fn tell_inside(self: &Arc<Self>, event: &mut StreamEvent) -> Status {
        match self.is_over() {
            true => Status::SUCCESS,
            false => self.call_application(event),
        }
    }

    /// Calls the application. By who is inside the gate.
    #[inline(always)]
    fn call_application(self: &Arc<Self>, event: &mut StreamEvent) -> Status {
        let Some((handler, context)) = self.target.get() else { return Status::SUCCESS };
        // SAFETY: the application gave this function to be called with this context until SHUTDOWN_COMPLETE or until
        // it has closed the handle, which the gate sees to; the event is whole, and lives until the function has
        // returned.
        called::during(&self.connection, Some(self), || unsafe { handler(self.handle, context.0, event) })
    }
}

impl Call {
    #[cold]
    fn apply_all(calls: Vec<Self>, live: &tercel::Stream) {
        for call in calls {
            // What cannot be done any more is told by events.
            let _ = call.apply(live);
        }
    }

    fn apply(self, live: &tercel::Stream) -> Result<(), Status> {
        let done = match self {
            Self::Send(pieces) => pieces.into_iter().try_for_each(|(data, options)| live.send_with(data, options)),
            Self::Finish => live.finish(),
            Self::Reset { code, reliable: 0 } => live.reset(code),
            Self::Reset { code, reliable } => live.reset_at(code, reliable).or_else(|_| live.reset(code)),
            Self::Stop(code) => live.stop_sending(code),
            Self::SetReceiveEnabled(enabled) => {
                live.set_receive_enabled(enabled);
                Ok(())
            }
            Self::Lend(memory) => live.lend_memory(memory),
        };
        done.map_err(|error| status_of(&error))
    }
}
