// What the files of the product name and the laws do not speak of.

use std::sync::Arc;

pub(crate) mod registration {
    use std::sync::Arc;

    use crate::worker::{Letter, Mailbox};

    pub(crate) struct RegistrationShared {
        pub(crate) mailboxes: Vec<Arc<Mailbox<Letter>>>,
    }
}

pub(crate) mod datapath {
    pub(crate) trait Datapath {
        fn wake(&self, worker: usize);
    }
}

pub(crate) mod configuration {
    pub(crate) enum EchStatus {
        NotOffered,
    }
}

pub(crate) mod handshake_info {
    pub(crate) struct HandshakeInfo;
}

pub(crate) mod credential {
    pub(crate) fn fingerprint(_certificate: &[u8]) -> [u8; 32] {
        [0; 32]
    }
}

/// What wakes a worker.
pub(crate) struct Bell(loom::sync::Notify);

impl Bell {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(loom::sync::Notify::new()))
    }

    pub(crate) fn wait(&self) {
        self.0.wait();
    }
}

impl datapath::Datapath for Bell {
    fn wake(&self, _worker: usize) {
        self.0.notify();
    }
}
