//! At which addresses the two ends see each other (draft-ietf-quic-address-discovery).
//!
//! A peer that wants to know is told, once for each path, where its packets come from; and what it tells
//! us is passed on. What is lost is said again, with a new number, as long as it is about the path in use.

use std::net::SocketAddr;

use tercel_wire::Frame;
use tercel_wire::frame::ObservedAddress;

use super::Path;
use crate::frames::{FrameSink, SentFrame};

/// What the peer knows of its address on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// Nothing, and it is to be told.
    Due,
    /// It was told in the frame with this number.
    Sent {
        /// The number.
        sequence: u64,
    },
    /// It has acknowledged that.
    Known,
}

/// What the peer says of our address on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard(Option<ObservedAddress>);

impl Heard {
    /// The peer says where it sees us; true if that is news. Frames that others have overtaken are
    /// ignored.
    pub fn on_report(&mut self, report: ObservedAddress) -> bool {
        match self.0 {
            Some(known) if known.sequence >= report.sequence => false,
            known => {
                self.0 = Some(report);
                known.map(|known| known.address) != Some(report.address)
            }
        }
    }
}

/// Tells the peer where it is seen.
#[derive(Debug, Default)]
pub struct AddressReports {
    wanted: bool,
    next: u64,
}

impl AddressReports {
    /// Whether the peer wants to be told, and we tell.
    pub const fn set_wanted(&mut self, wanted: bool) {
        self.wanted = wanted;
    }

    /// Whether the peer is to be told of its address on `path`.
    pub fn is_due(&self, path: &Path) -> bool {
        self.wanted && path.report == Report::Due
    }

    /// Writes OBSERVED_ADDRESS for `path` if due.
    pub fn write(&mut self, path: &mut Path, sink: &mut FrameSink<'_, '_>) {
        let sequence = self.next;
        if self.is_due(path) && self.push(path.address.remote, Some(SentFrame::ObservedAddress { sequence }), sink) {
            path.report = Report::Sent { sequence };
        }
    }

    /// Writes OBSERVED_ADDRESS for an address that is no path yet, if the peer wants to know. It is not
    /// said again if it is lost: once the peer moves there that is a path of its own.
    pub fn write_for(&mut self, remote: SocketAddr, sink: &mut FrameSink<'_, '_>) {
        if self.wanted {
            self.push(remote, None, sink);
        }
    }

    fn push(&mut self, remote: SocketAddr, record: Option<SentFrame>, sink: &mut FrameSink<'_, '_>) -> bool {
        // A socket for both families sees IPv4 addresses in another form.
        let address = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        let written = sink.push(&Frame::ObservedAddress(ObservedAddress { sequence: self.next, address }), record);
        self.next += u64::from(written);
        written
    }
}

#[cfg(test)]
mod tests {
    use tercel_wire::{Reader, Writer};

    use super::*;
    use crate::config::TransportConfig;
    use crate::frames::SentFrames;
    use crate::path::{AntiAmplification, PathAddress, Paths};

    fn paths(remote: &str, wanted: bool) -> Paths {
        let address = PathAddress { remote: remote.parse().unwrap(), local: None };
        let path = Path::new(0, address, &TransportConfig::default(), AntiAmplification::Validated);
        let mut paths = Paths::new(path);
        paths.reports.set_wanted(wanted);
        paths
    }

    fn written(room: usize, write: impl FnOnce(&mut FrameSink<'_, '_>)) -> (Option<ObservedAddress>, SentFrames) {
        let (mut bytes, mut sent) = (vec![0; room], SentFrames::new());
        let mut writer = Writer::new(&mut bytes);
        write(&mut FrameSink::new(&mut writer, &mut sent));
        match Frame::decode(&mut Reader::new(writer.written())) {
            Ok(Frame::ObservedAddress(report)) => (Some(report), sent),
            _ => (None, sent),
        }
    }

    #[test]
    fn each_path_is_told_of_once_and_again_if_that_is_lost() {
        let mut paths = paths("192.0.2.1:443", true);
        assert_eq!(written(8, |sink| paths.write_report(sink)).0, None, "no room");
        let (first, sent) = written(100, |sink| paths.write_report(sink));
        assert_eq!(first, Some(ObservedAddress { sequence: 0, address: "192.0.2.1:443".parse().unwrap() }));
        assert_eq!(sent[..], [SentFrame::ObservedAddress { sequence: 0 }]);
        assert!(!paths.owes_report());
        paths.report_settled(0, false);
        let (second, _) = written(100, |sink| paths.write_report(sink));
        assert_eq!(second.map(|report| report.sequence), Some(1), "numbers go up");
        paths.report_settled(0, true);
        paths.report_settled(0, false);
        assert_eq!(paths.active.report, Report::Sent { sequence: 1 }, "the older frame settles nothing");
        paths.report_settled(1, true);
        paths.report_settled(1, false);
        assert!(!paths.owes_report());
    }

    #[test]
    fn nobody_is_told_who_does_not_want_to_know() {
        let mut paths = paths("192.0.2.1:443", false);
        assert!(!paths.owes_report());
        assert_eq!(written(100, |sink| paths.write_report(sink)).0, None);
        assert_eq!(written(100, |sink| paths.reports.write_for("192.0.2.2:1".parse().unwrap(), sink)).0, None);
    }

    #[test]
    fn addresses_have_their_own_form() {
        for (seen, told) in [("[::ffff:192.0.2.1]:443", "192.0.2.1:443"), ("[2001:db8::1]:443", "[2001:db8::1]:443")] {
            let mut paths = paths(seen, true);
            let (report, _) = written(100, |sink| paths.write_report(sink));
            assert_eq!(report.map(|report| report.address), Some(told.parse().unwrap()));
        }
    }

    #[test]
    fn what_was_overtaken_is_ignored_and_what_is_known_is_no_news() {
        let report = |sequence, port| ObservedAddress { sequence, address: SocketAddr::from(([192, 0, 2, 1], port)) };
        let mut heard = Heard::default();
        for (sequence, port, news) in [(3, 1, true), (2, 2, false), (3, 2, false), (4, 1, false), (5, 2, true)] {
            assert_eq!(heard.on_report(report(sequence, port)), news, "{sequence} {port}");
        }
    }
}
