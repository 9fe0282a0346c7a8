//! Packet numbers against the definition: the number nearest to the one that is expected.

use super::*;

/// Numbers at which windows of one and two bytes begin, end and touch the limits of all numbers.
const CENTRES: &[u64] =
    &[0, 1, 5, 127, 128, 129, 255, 256, 257, 32_767, 32_768, 65_535, 65_536, 65_537, 1 << 32, (1 << 61) + 77];

/// RFC 9000 appendix A.3 by search: of all numbers that end in `truncated`, the one in the window
/// of which `expected` is the middle.
fn nearest(truncated: u32, len: usize, expected: u64) -> u64 {
    let window = 1u64 << (8 * len);
    let first = (expected / window).saturating_sub(1);
    let candidates = (first..first + 3).map(|high| high * window + u64::from(truncated));
    candidates
        .min_by_key(|candidate| {
            // Of two at the same distance, the later.
            (candidate.abs_diff(expected), *candidate < expected)
        })
        .unwrap()
}

#[test]
fn all_numbers_of_one_and_two_bytes() {
    for centre in CENTRES {
        for len in [1, 2] {
            for truncated in 0..1u32 << (8 * len) {
                let largest = centre.checked_sub(1);
                assert_eq!(
                    expand(truncated, len, largest),
                    nearest(truncated, len, *centre),
                    "{truncated:#x} of {len} bytes, expecting {centre:#x}"
                );
            }
        }
    }
}

#[test]
fn edges_of_three_and_four_bytes() {
    for (len, half) in [(3, 1u64 << 23), (4, 1 << 31)] {
        for centre in [0, half - 1, half, half + 1, 2 * half, 3 * half + 9, 1 << 50] {
            for number in [centre.saturating_sub(half - 1), centre.saturating_sub(1), centre, centre + half] {
                let truncated = (number & (2 * half - 1)) as u32;
                assert_eq!(expand(truncated, len, centre.checked_sub(1)), number, "{number} near {centre}");
            }
        }
    }
}

#[test]
fn no_number_beyond_the_last() {
    let last = (1u64 << 62) - 1;
    for len in 1..=4 {
        for truncated in [0, 1, 0x7f, 0x80, 0xff] {
            assert!(expand(truncated, len, Some(last - 1)) <= last, "{truncated:#x} of {len} bytes");
        }
    }
}

#[test]
// RFC 9000 section 17.1#1#2#3.
fn every_length_covers_twice_what_is_unacknowledged() {
    // RFC 9000 section 17.1: more than twice as large a range as the difference.
    for largest in [None, Some(0), Some(1 << 40)] {
        let mut before = 0;
        for unacked in (1..1000).chain((10..31).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1])) {
            let number = largest.map_or(unacked - 1, |largest| largest + unacked);
            let len = encoded_len(number, largest);
            assert!(1u64 << (8 * len) > 2 * unacked, "{unacked} in {len} bytes");
            assert!(len == 1 || 1u64 << (8 * (len - 1)) <= 2 * unacked, "{unacked} needs no {len} bytes");
            assert!(len >= before || unacked < 1024);
            before = len;
        }
    }
}
