//! The randomness of TLS. rustls asks a static for it, so it is kept per thread: a run stays on one.

use std::cell::RefCell;

use rustls::crypto::{GetRandomFailed, SecureRandom};

use crate::random::Random;

thread_local! {
    static RANDOM: RefCell<Random> = RefCell::new(Random::new(0));
}

/// Begins the stream of `seed` for the TLS of this thread. Call it first in every run.
pub fn seed(seed: u64) {
    RANDOM.with_borrow_mut(|random| *random = Random::new(seed));
}

pub(super) fn fill(bytes: &mut [u8]) {
    RANDOM.with_borrow_mut(|random| random.fill(bytes));
}

#[derive(Debug)]
pub(super) struct Seeded;

impl SecureRandom for Seeded {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        fill(bytes);
        Ok(())
    }
}
