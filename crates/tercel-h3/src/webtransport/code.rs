//! Error codes: an application of WebTransport has 32 bits, which lie in a range of those of HTTP/3,
//! around the values that are reserved there (draft-ietf-webtrans-http3-07 section 4.3).

use tercel::ApplicationErrorCode;

use crate::connection::code;

/// WEBTRANSPORT_BUFFERED_STREAM_REJECTED: too many streams came before their session.
pub(super) const BUFFERED_STREAM_REJECTED: u32 = 0x3994_bd84;
/// WEBTRANSPORT_SESSION_GONE: the session of a stream has ended.
pub(super) const SESSION_GONE: u32 = 0x170d_7b68;
/// An ID that cannot be that of a session (RFC 9114 section 8.1).
pub(super) const H3_ID_ERROR: u32 = 0x108;
/// A datagram that cannot be read (RFC 9297 section 2.1).
pub(super) const H3_DATAGRAM_ERROR: u32 = 0x33;

const FIRST: u64 = 0x52e4_a40f_a8db;
const LAST: u64 = 0x52e5_ac98_3162;

/// The code of a stream for that of an application.
pub(super) fn to_http(application: u32) -> ApplicationErrorCode {
    let application = u64::from(application);
    code(FIRST + application + application / 0x1e)
}

/// The application's code, if the stream's is of that range.
pub(super) fn from_http(stream: ApplicationErrorCode) -> Option<u32> {
    let stream = stream.into_inner();
    // Values of the form 0x1f * N + 0x21 are reserved (RFC 9114 section 8.1).
    if !(FIRST..=LAST).contains(&stream) || stream % 0x1f == 0x21 % 0x1f {
        return None;
    }
    let shifted = stream - FIRST;
    u32::try_from(shifted - shifted / 0x1f).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_lie_around_the_reserved_values_and_come_back() {
        for application in [0, 1, 28, 29, 30, 31, 59, 60, 61, 0xffff, 0x8000_0000, u32::MAX - 1, u32::MAX] {
            let stream = to_http(application);
            assert_ne!((stream.into_inner() - 0x21) % 0x1f, 0, "{application}");
            assert_eq!(from_http(stream), Some(application));
        }
        assert_eq!(to_http(0).into_inner(), FIRST);
        assert_eq!(to_http(u32::MAX).into_inner(), LAST);
        for (low, high) in [(29u32, 30u32), (59, 60)] {
            // One reserved value lies between them.
            let between = to_http(low).into_inner() + 1;
            assert_eq!(to_http(high).into_inner(), between + 1);
            assert_eq!(from_http(code(between)), None);
        }
        for other in [0, FIRST - 1, LAST + 1, u64::from(SESSION_GONE)] {
            assert_eq!(from_http(code(other)), None);
        }
    }
}
