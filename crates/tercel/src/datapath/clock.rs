//! The only reader of the operating system's time and randomness.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use tercel_proto::time::Time;

/// A steady clock that was set to the time since 1970 when it was made: never steps back, and close
/// enough to other machines' clocks for the lifetimes of tokens.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    epoch: Time,
}

impl Clock {
    /// A clock set from the system's.
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads the system's clocks")]
    pub fn new() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { started: Instant::now(), epoch: Time::ZERO + since_1970 }
    }

    /// The time now.
    pub fn now(&self) -> Time {
        self.epoch + self.started.elapsed()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// Secret bytes from the operating system, to grow everything random from.
///
/// # Errors
/// The operating system has none to give.
pub fn seed() -> std::io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    SystemRandom::new()
        .fill(&mut seed)
        .map_err(|_| std::io::Error::other("no randomness from the operating system"))?;
    Ok(seed)
}
