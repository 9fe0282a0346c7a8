//! How much a stream should have under way, sent and not acknowledged, so that the path is kept busy.
//!
//! Twice the congestion window: a window's worth in flight, and another one to go on with while word of
//! what was acknowledged is on its way to the application and new data comes back. In steps of two, so
//! that it is not told with every acknowledgement; and it does not shrink, since a stream that has filled
//! more will not fill as much again.

/// What every stream can count on from the start.
pub(crate) const MIN_IDEAL: u64 = 128 << 10;

/// More is of no use on any path, and would only wait in memory.
const MAX_IDEAL: u64 = 128 << 20;

/// How many bytes, with this congestion window.
pub(super) fn bytes(congestion_window: u64) -> u64 {
    (2 * congestion_window.min(MAX_IDEAL)).next_power_of_two().clamp(MIN_IDEAL, MAX_IDEAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_the_window_in_steps_of_two() {
        for (window, ideal) in [
            (0, 128 << 10),
            (12_000, 128 << 10),
            (64 << 10, 128 << 10),
            ((64 << 10) + 1, 256 << 10),
            (5_000_000, 16 << 20),
            (64 << 20, 128 << 20),
            (1 << 40, 128 << 20),
            (u64::MAX, 128 << 20),
        ] {
            assert_eq!(bytes(window), ideal, "{window}");
        }
    }
}
