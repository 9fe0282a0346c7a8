// In place of the operations of a connection: those that the laws speak of.

pub(crate) use self::queue::Queue;
use tercel_proto::tls::Verdict;

#[derive(Debug)]
pub(crate) enum Operation {
    Connection(ConnectionOperation),
}

#[derive(Debug)]
pub(crate) enum ConnectionOperation {
    Send { context: u64 },
    Close { code: u64 },
    Verdict(Verdict),
}

impl Operation {
    pub(crate) fn is_late(&self) -> bool {
        false
    }

    pub(crate) fn is_close(&self) -> bool {
        matches!(self, Self::Connection(ConnectionOperation::Close { .. }))
    }

    /// There are no streams here.
    pub(crate) fn join(&mut self, next: Self) -> Option<Self> {
        Some(next)
    }

    /// Handles stay until the end here.
    pub(crate) const fn is_letting_go(&self) -> bool {
        false
    }

    pub(crate) fn is_verdict(&self) -> bool {
        matches!(self, Self::Connection(ConnectionOperation::Verdict(_)))
    }
}
