//! Memory of streams that are gone, and of those who heard them, kept by each worker for those to come: with many short
//! streams at a time an allocator would put it together and apart again for each.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::Stream;
use super::events::Events;

/// How many at the most, for each thread.
const MOST: usize = 64;

/// Both references to memory without a stream: one is for the table of handles, one for who hears the stream.
type Room = [Arc<MaybeUninit<Stream>>; 2];

thread_local! {
    static SPARE: RefCell<Vec<Room>> = const { RefCell::new(Vec::new()) };
    #[allow(clippy::vec_box, reason = "it is the boxes that are kept")]
    static BOXES: RefCell<Vec<Box<Events>>> = const { RefCell::new(Vec::new()) };
}

/// Makes a stream in memory that is kept, or into new.
#[inline]
pub(super) fn put(make: impl FnOnce() -> Stream) -> [Arc<Stream>; 2] {
    let kept = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
    let room = kept.unwrap_or_else(|| {
        let room = Arc::new_uninit();
        [room.clone(), room]
    });
    let places = room.map(|place| Arc::into_raw(place).cast::<Stream>());
    // SAFETY: what is kept has no other owner, nor has what is new; and it is written before it is used as a stream.
    unsafe {
        places[0].cast_mut().write(make());
        places.map(|place| Arc::from_raw(place))
    }
}

/// Tells the last event of a stream, by who hears it and is inside the gate.
pub(super) fn last(stream: &Stream, tell: impl FnOnce()) {
    stream.tells_last.store(true, Ordering::Relaxed);
    tell();
    stream.tells_last.store(false, Ordering::Relaxed);
}

/// The handle of a stream is closed, and this was the reference of the table to it: who hears it has it from now on if this
/// happens while it tells the last event, for then it will let go of the stream.
pub(super) fn close(stream: Arc<Stream>) {
    if stream.connection.gate().is_mine() && stream.tells_last.load(Ordering::Relaxed) {
        stream.heard_doubly.store(true, Ordering::Relaxed);
        let _ = Arc::into_raw(stream);
    }
}

/// Lets go of a stream, by who hears it; if nobody else has it, its memory is kept.
pub(super) fn let_go(stream: Arc<Stream>) {
    // SAFETY: it was counted when its handle was closed, and nobody else has it.
    let second = stream.heard_doubly.load(Ordering::Relaxed).then(|| unsafe { Arc::from_raw(Arc::as_ptr(&stream)) });
    // There are no weak references: so who has all references is alone with it.
    if Arc::strong_count(&stream) != 1 + usize::from(second.is_some()) {
        return;
    }
    // What others did with it before they let go comes before this.
    fence(Ordering::Acquire);
    let other = second.unwrap_or_else(|| stream.clone());
    let both = [stream, other].map(|stream| Arc::into_raw(stream).cast_mut());
    // SAFETY: nobody else has it, and it is not used as a stream any more. The memory is that of an `Arc`, for a value of
    // the same size and alignment.
    let room = unsafe {
        both[0].drop_in_place();
        both.map(|place| Arc::from_raw(place.cast::<MaybeUninit<Stream>>().cast_const()))
    };
    // A thread that ends keeps nothing.
    let _ = SPARE.try_with(|spare| keep(&mut spare.borrow_mut(), room));
}

/// Puts who hears a stream into a box that is kept, or into a new one.
pub(super) fn boxed(events: Events) -> Box<Events> {
    match BOXES.try_with(|boxes| boxes.borrow_mut().pop()) {
        Ok(Some(mut kept)) => {
            *kept = events;
            kept
        }
        _ => Box::new(events),
    }
}

/// Keeps a box. What is in it has heard all.
pub(super) fn unboxed(events: Box<Events>) {
    let _ = BOXES.try_with(|boxes| keep(&mut boxes.borrow_mut(), events));
}

fn keep<T>(spare: &mut Vec<T>, memory: T) {
    if spare.len() < MOST {
        spare.push(memory);
    }
}
