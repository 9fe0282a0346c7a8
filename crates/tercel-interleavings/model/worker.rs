// In place of the worker: a loop that takes letters, gives the connection its turn, and sleeps.

pub(crate) use self::mailbox::Mailbox;
use crate::cell::{ConnectionShared, Core};
use std::sync::Arc;

pub(crate) enum Letter {
    Run(Arc<ConnectionShared>),
}

/// Runs until the connection is complete; gives it back.
pub(crate) fn work(mut core: Box<Core>, mailbox: &Mailbox<Letter>, bell: &crate::Bell) -> Box<Core> {
    loop {
        core = turn(core, mailbox);
        if core.is_complete() {
            return core;
        }
        if mailbox.sleep() {
            bell.wait();
        }
    }
}

/// Whatever letters there are.
pub(crate) fn turn(mut core: Box<Core>, mailbox: &Mailbox<Letter>) -> Box<Core> {
    let mut letters = Vec::new();
    mailbox.collect(&mut letters);
    for Letter::Run(_) in letters {
        core = core.run();
    }
    core
}
