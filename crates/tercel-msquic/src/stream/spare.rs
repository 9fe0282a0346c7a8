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

thread_local! {
    static SPARE: RefCell<Vec<Arc<MaybeUninit<Stream>>>> = const { RefCell::new(Vec::new()) };
    #[allow(clippy::vec_box, reason = "it is the boxes that are kept")]
    static BOXES: RefCell<Vec<Box<Events>>> = const { RefCell::new(Vec::new()) };
}

/// Makes a stream in memory that is kept, or into new.
#[inline]
pub(super) fn put(make: impl FnOnce() -> Stream) -> Arc<Stream> {
    let kept = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
    let place = Arc::into_raw(kept.unwrap_or_else(Arc::new_uninit)).cast::<Stream>().cast_mut();
    // SAFETY: what is kept has no other owner, nor has what is new; and it is written before it is used as a stream.
    unsafe {
        place.write(make());
        Arc::from_raw(place)
    }
}

/// Lets go of a stream; if nobody else has it, its memory is kept.
pub(super) fn let_go(stream: Arc<Stream>) {
    // There are no weak references: so who has the only one is alone with it.
    if Arc::strong_count(&stream) > 1 {
        return;
    }
    // What others did with it before they let go comes before this.
    fence(Ordering::Acquire);
    let stream = Arc::into_raw(stream).cast_mut();
    // SAFETY: nobody else has it, and it is not used as a stream any more. The memory is that of an `Arc`, for a value of
    // the same size and alignment.
    let memory = unsafe {
        stream.drop_in_place();
        Arc::from_raw(stream.cast::<MaybeUninit<Stream>>())
    };
    // A thread that ends keeps nothing.
    let _ = SPARE.try_with(|spare| keep(&mut spare.borrow_mut(), memory));
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
