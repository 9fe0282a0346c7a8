// In place of a connection in its worker: one that waits for a verdict, sends and closes, built like the
// product's: operations note what there is to tell, and handlers are told while the connection is lent.

pub(crate) mod streams {
    #[derive(Clone, Copy)]
    pub(crate) struct StreamKey(pub(crate) u64);
}

use std::collections::VecDeque;
use std::sync::Arc;

use tercel_proto::tls::Verdict;

pub(crate) use self::handle::ConnectionShared;
use crate::certificate::Question;
use crate::operation::{ConnectionOperation, Operation};
use crate::status::Error;
use crate::worker::current;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Connected,
    SendComplete {
        context: u64,
        canceled: bool,
    },
    /// With the application's code, or none if the peer was refused.
    ShutdownComplete {
        code: Option<u64>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Awaiting,
    Connected,
    Closing,
    Complete,
}

pub(crate) type Handler = Arc<dyn Fn(&Arc<ConnectionShared>, Event)>;

pub(crate) struct Core {
    shared: Arc<ConnectionShared>,
    phase: Phase,
    accepted: bool,
    /// An end that is still to begin, and with which code of the application's it did.
    ending: Option<Option<u64>>,
    code: Option<u64>,
    question: Option<Arc<Question>>,
    /// Sends that wait for the handshake.
    pending: VecDeque<u64>,
    happened: VecDeque<Event>,
    handler: Handler,
}

impl Core {
    pub(crate) fn new(shared: Arc<ConnectionShared>, question: Arc<Question>, handler: Handler) -> Box<Self> {
        let (pending, happened) = (VecDeque::new(), VecDeque::new());
        let question = Some(question);
        Box::new(Self {
            shared,
            phase: Phase::Awaiting,
            accepted: false,
            ending: None,
            code: None,
            question,
            pending,
            happened,
            handler,
        })
    }

    pub(crate) fn shared(&self) -> &Arc<ConnectionShared> {
        &self.shared
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.phase == Phase::Complete
    }

    /// Whether a verdict let the handshake complete.
    pub(crate) fn was_accepted(&self) -> bool {
        self.accepted
    }

    fn is_closing(&self) -> bool {
        self.ending.is_some() || self.phase >= Phase::Closing
    }

    /// A call from the connection's own handler.
    pub(crate) fn call(&mut self, operation: ConnectionOperation) -> Result<(), Error> {
        if self.is_closing() {
            return Err(self.shared.closed());
        }
        let result = self.apply(operation);
        // A handler is told later.
        result
    }

    /// What a planted bug does.
    #[allow(dead_code)]
    fn deliver_now(&mut self) {
        while let Some(event) = self.happened.pop_front() {
            (self.handler.clone())(&self.shared, event);
        }
    }

    /// Its turn: what other threads have asked for, and what there is to tell.
    pub(crate) fn run(mut self: Box<Self>) -> Box<Self> {
        self.take_operations();
        let mut core = self;
        loop {
            while let Some(event) = core.happened.pop_front() {
                core = core.tell(event);
            }
            match core.ending.take() {
                Some(code) if core.phase < Phase::Closing => core.begin_closing(code),
                _ if core.phase == Phase::Closing => {
                    core.phase = Phase::Complete;
                    let code = core.code;
                    core = core.tell(Event::ShutdownComplete { code });
                }
                _ => return core,
            }
        }
    }

    fn tell(mut self: Box<Self>, event: Event) -> Box<Self> {
        if event == Event::Connected {
            // A close that was called before now must not be followed by Connected.
            self.take_operations();
            if self.ending.is_some() {
                return self;
            }
        }
        let (shared, handler) = (self.shared.clone(), self.handler.clone());
        let (core, result) = current::lend(self, || handler(&shared, event));
        assert!(result.is_ok(), "law: see above");
        core
    }

    fn take_operations(&mut self) {
        let mut operations = VecDeque::new();
        self.shared.queue.take(&mut operations, || {});
        for operation in operations {
            self.apply_queued(operation);
        }
    }

    fn apply_queued(&mut self, operation: Operation) {
        let Operation::Connection(operation) = operation;
        let promise = match &operation {
            ConnectionOperation::Send { context } => Some(*context),
            _ => None,
        };
        if self.apply(operation).is_err()
            && let Some(context) = promise
        {
            self.happened.push_back(Event::SendComplete { context, canceled: true });
        }
    }

    fn apply(&mut self, operation: ConnectionOperation) -> Result<(), Error> {
        match operation {
            _ if self.is_closing() => return Err(Error::Closed),
            ConnectionOperation::Send { context } if self.phase == Phase::Awaiting => self.pending.push_back(context),
            ConnectionOperation::Send { context } => {
                self.happened.push_back(Event::SendComplete { context, canceled: false });
            }
            ConnectionOperation::Verdict(_) if self.phase != Phase::Awaiting => {
                panic!("law: a token is answered once");
            }
            ConnectionOperation::Verdict(Verdict::Accept) => {
                self.question = None;
                self.phase = Phase::Connected;
                self.accepted = true;
                self.happened.push_back(Event::Connected);
                for context in std::mem::take(&mut self.pending) {
                    self.happened.push_back(Event::SendComplete { context, canceled: false });
                }
            }
            ConnectionOperation::Verdict(Verdict::Reject(_)) => self.ending = Some(None),
            ConnectionOperation::Close { code } => {
                self.shared.note_close_called();
                self.ending = Some(Some(code));
            }
        }
        Ok(())
    }

    fn begin_closing(&mut self, code: Option<u64>) {
        self.phase = Phase::Closing;
        self.code = code;
        if let Some(question) = self.question.take() {
            question.settle();
        }
        for operation in self.shared.queue.end() {
            self.apply_queued(operation);
        }
        while let Some(context) = self.pending.pop_front() {
            self.happened.push_back(Event::SendComplete { context, canceled: true });
        }
    }
}
