//! Packet numbers on the wire (RFC 9000 section 17.1 and appendix A).

/// How many bytes (1 to 4) carry `number` so that a peer that has acknowledged `largest_acked` can
/// recover it: enough for more than twice the packets in between.
// RFC 9000 section 17.1#1#2#3.
pub(crate) fn encoded_len(number: u64, largest_acked: Option<u64>) -> usize {
    let unacked = match largest_acked {
        Some(largest) => number.saturating_sub(largest),
        None => number.saturating_add(1),
    };
    // RFC 9000 appendix A.2: one bit more than the distance takes.
    let bits = (u64::BITS - unacked.leading_zeros()) as usize + 1;
    bits.div_ceil(8).clamp(1, 4)
}

/// The number whose lowest `len` bytes are `truncated` and that is closest to the one after
/// `largest_received` (RFC 9000 appendix A.3).
pub(crate) fn expand(truncated: u32, len: usize, largest_received: Option<u64>) -> u64 {
    let truncated = u64::from(truncated);
    let expected = largest_received.map_or(0, |largest| largest + 1);
    let window = 1u64 << (len * 8);
    let half = window / 2;
    let candidate = (expected & !(window - 1)) | truncated;
    if candidate + half <= expected && candidate < (1 << 62) - window {
        candidate + window
    } else if candidate > expected + half && candidate >= window {
        candidate - window
    } else {
        candidate
    }
}

#[cfg(test)]
mod tests;
