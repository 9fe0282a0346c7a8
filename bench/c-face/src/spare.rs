//! Memory of contexts that are gone, kept by each thread for those to come: a program in C that makes many of one size
//! does not ask its allocator for each.

use std::cell::RefCell;
use std::mem::MaybeUninit;

/// Room for any of them.
#[repr(align(16))]
struct Room(#[expect(dead_code, reason = "it is written by pointer")] [MaybeUninit<u8>; 256]);

/// How many at the most, for each thread.
const MOST: usize = 64;

thread_local! {
    #[allow(clippy::vec_box, reason = "it is the boxes that are kept")]
    static SPARE: RefCell<Vec<Box<MaybeUninit<Room>>>> = const { RefCell::new(Vec::new()) };
}

/// Puts a value into memory that is kept, or into new.
pub(crate) fn put<T>(value: T) -> *mut T {
    const { assert!(size_of::<T>() <= size_of::<Room>() && align_of::<T>() <= align_of::<Room>()) };
    let kept = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
    let place = Box::into_raw(kept.unwrap_or_else(Box::new_uninit)).cast::<T>();
    // SAFETY: there is room for it, as is checked above.
    unsafe { place.write(value) };
    place
}

/// Drops a value and keeps its memory.
///
/// # Safety
/// It was [`put`] there, and nobody uses it any more.
pub(crate) unsafe fn let_go<T>(value: *mut T) {
    // SAFETY: as demanded of the caller.
    let room = unsafe {
        value.drop_in_place();
        Box::from_raw(value.cast::<MaybeUninit<Room>>())
    };
    // A thread that ends keeps nothing.
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < MOST {
            spare.push(room);
        }
    });
}
