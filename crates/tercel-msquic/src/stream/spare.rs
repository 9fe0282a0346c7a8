//! Memory of streams that are gone, kept by each worker for those to come: with many short streams at a time an allocator
//! would put it together and apart again for each.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::sync::Arc;

use super::Stream;

/// How many at the most, for each thread.
const MOST: usize = 64;

thread_local! {
    static SPARE: RefCell<Vec<Arc<MaybeUninit<Stream>>>> = const { RefCell::new(Vec::new()) };
}

/// Puts a stream into memory that is kept, or into new.
pub(super) fn put(stream: Stream) -> Arc<Stream> {
    let kept = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
    let mut memory = kept.unwrap_or_else(Arc::new_uninit);
    match Arc::get_mut(&mut memory) {
        Some(place) => {
            place.write(stream);
            // SAFETY: it was written just now.
            unsafe { memory.assume_init() }
        }
        // What is kept has no other owner.
        None => Arc::new(stream),
    }
}

/// Lets go of a stream; if nobody else has it, its memory is kept.
pub(super) fn let_go(mut stream: Arc<Stream>) {
    if Arc::get_mut(&mut stream).is_none() {
        return;
    }
    let stream = Arc::into_raw(stream).cast_mut();
    // SAFETY: nobody else has it, and it is not used as a stream any more. The memory is that of an `Arc`, for a value of
    // the same size and alignment.
    let memory = unsafe {
        stream.drop_in_place();
        Arc::from_raw(stream.cast::<MaybeUninit<Stream>>())
    };
    // A thread that ends keeps nothing.
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < MOST {
            spare.push(memory);
        }
    });
}
