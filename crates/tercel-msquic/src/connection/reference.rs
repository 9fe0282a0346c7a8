//! How streams refer to their connection. A reference that is given back within a callback's turn stays counted, for the
//! next stream: so streams that come and go there change no count.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Connection;

/// How many references are counted that nobody has. Changed by who is inside the gate.
#[derive(Default)]
pub(super) struct Spare(AtomicUsize);

/// See the [module](self).
pub(crate) struct Reference(ManuallyDrop<Arc<Connection>>);

impl Reference {
    /// Another one.
    pub(crate) fn of(connection: &Arc<Connection>) -> Self {
        Self(ManuallyDrop::new(match connection.gate.is_mine() {
            true => connection.take_spare(),
            false => connection.clone(),
        }))
    }
}

impl Deref for Reference {
    type Target = Arc<Connection>;

    fn deref(&self) -> &Arc<Connection> {
        &self.0
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // SAFETY: it is not used after this.
        let connection = unsafe { ManuallyDrop::take(&mut self.0) };
        // Once it is over no stream follows.
        if connection.gate.is_mine() && !connection.is_over() {
            connection.give_spare();
        }
    }
}

impl Connection {
    /// By who is inside the gate.
    fn take_spare(self: &Arc<Self>) -> Arc<Self> {
        match self.spare.0.load(Ordering::Relaxed) {
            0 => self.clone(),
            spare => {
                self.spare.0.store(spare - 1, Ordering::Relaxed);
                // SAFETY: it was counted when it was given, and nobody else inside the gate has taken it.
                unsafe { Arc::from_raw(Arc::as_ptr(self)) }
            }
        }
    }

    /// By who is inside the gate, while it is not over.
    fn give_spare(self: Arc<Self>) {
        self.spare.0.store(self.spare.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        let _ = Arc::into_raw(self);
    }

    /// It is over: they are counted no more. By who is inside the gate.
    pub(super) fn drop_spares(self: &Arc<Self>) {
        for _ in 0..self.spare.0.swap(0, Ordering::Relaxed) {
            // SAFETY: as many are counted, and nobody has them.
            drop(unsafe { Arc::from_raw(Arc::as_ptr(self)) });
        }
    }
}

#[cfg(test)]
mod tests {
    use tercel::Role;

    use super::super::Stage;
    use super::*;
    use crate::handle;
    use crate::registration::Registration;
    use crate::target::Target;

    /// Inside the gate references stay counted for those to come; at the end nothing is counted that nobody has.
    #[test]
    fn references_are_kept_inside_the_gate_until_the_end() {
        let registration = Arc::new(Registration::new());
        let connection = Connection::make(&registration, Role::Client, Stage::Idle, Target::nobody()).unwrap();
        let counted = || Arc::strong_count(&connection);
        let before = counted();
        let pass = connection.gate.enter();
        let three = [(); 3].map(|()| Reference::of(&connection));
        assert!(three.iter().all(|reference| Arc::ptr_eq(reference, &connection)));
        assert_eq!(counted(), before + 3);
        drop(three);
        assert_eq!(counted(), before + 3);
        let [first, second] = [(); 2].map(|()| Reference::of(&connection));
        assert_eq!(counted(), before + 3);
        drop(pass);
        // Who is not inside counts for himself.
        let outside = Reference::of(&connection);
        assert_eq!(counted(), before + 4);
        drop((outside, first));
        assert_eq!(counted(), before + 2);
        let _pass = connection.gate.enter();
        connection.over.store(true, Ordering::Release);
        drop(second);
        assert_eq!(counted(), before + 1);
        connection.drop_spares();
        assert_eq!(counted(), before);
        handle::remove::<Connection>(connection.handle).unwrap();
        connection.forget();
    }
}
