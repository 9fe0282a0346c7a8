//! What keys were derived as, so that the same ones can be made again without deriving anything.
//!
//! For packet protection keys rustls expands secrets (RFC 9001 section 5.1), which takes many times as long as all else
//! about them, and it shows nobody what comes out. But it asks the cipher suite to expand, which is
//! [ours](super::observed): so what comes out can be noted, and given in the same order when the same keys are made again.

use std::cell::{Cell, RefCell};

use rustls::crypto::tls13::{HkdfExpander, OkmBlock, OutputLengthError};

use super::scoped;

/// So much is derived for the keys of a phase at the most, with 32 bytes for a key and as many for a header key. It has
/// room at once: what grows would leave pieces of keys behind.
const LONGEST: usize = 2 * (32 + 12 + 32);

/// What was derived, in the order in which it was asked for.
pub(crate) struct Derived(Cell<Vec<u8>>);

/// What is going on on this thread.
enum Deriving {
    /// What is derived is noted here.
    Noting(Vec<u8>),
    /// It is given from here on.
    Giving { bytes: Vec<u8>, at: usize },
}

impl Deriving {
    fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Noting(bytes) | Self::Giving { bytes, .. } => bytes,
        }
    }
}

thread_local! {
    static DERIVING: RefCell<Option<Deriving>> = const { RefCell::new(None) };
}

impl Derived {
    /// Notes what `make` derives.
    pub(crate) fn note<R>(make: impl FnOnce() -> R) -> (R, Self) {
        let (made, left) = scoped::during(&DERIVING, Deriving::Noting(Vec::with_capacity(LONGEST)), make);
        let noted = Self(Cell::new(left.map(Deriving::into_bytes).unwrap_or_default()));
        // A copy takes no more room than it needs.
        (made, noted.clone())
    }

    /// Has `make` make again what was made while this was noted, in the same way.
    pub(crate) fn again<R>(&self, make: impl FnOnce() -> R) -> R {
        let (made, left) = scoped::during(&DERIVING, Deriving::Giving { bytes: self.0.take(), at: 0 }, make);
        self.0.set(left.map(Deriving::into_bytes).unwrap_or_default());
        made
    }
}

impl Clone for Derived {
    fn clone(&self) -> Self {
        let bytes = self.0.take();
        let copy = bytes.clone();
        self.0.set(bytes);
        Self(Cell::new(copy))
    }
}

impl Drop for Derived {
    /// Keys are not left in memory that others get.
    fn drop(&mut self) {
        self.0.get_mut().fill(0);
        std::hint::black_box(self.0.get_mut());
    }
}

/// Whether nothing is to be derived, because what comes out is known.
pub(super) fn is_known() -> bool {
    DERIVING.with_borrow(|deriving| matches!(deriving, Some(Deriving::Giving { .. })))
}

/// What expands a secret that `inner` is made of.
pub(super) fn expander(inner: impl FnOnce() -> Box<dyn HkdfExpander>) -> Box<dyn HkdfExpander> {
    let noting = DERIVING.with_borrow(|deriving| deriving.as_ref().map(|now| matches!(now, Deriving::Noting(_))));
    match noting {
        None => inner(),
        Some(true) => Box::new(Noted(inner())),
        Some(false) => Box::new(Known),
    }
}

/// Notes what comes out.
struct Noted(Box<dyn HkdfExpander>);

impl HkdfExpander for Noted {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        self.0.expand_slice(info, output)?;
        DERIVING.with_borrow_mut(|deriving| {
            if let Some(Deriving::Noting(bytes)) = deriving {
                bytes.extend_from_slice(&output[..wanted(info, output.len())]);
            }
        });
        Ok(())
    }

    fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
        self.0.expand_block(info)
    }

    fn hash_len(&self) -> usize {
        self.0.hash_len()
    }
}

/// Gives what was noted. Blocks are secrets and not keys: who makes keys again does not use them.
pub(super) struct Known;

impl HkdfExpander for Known {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        let wanted = wanted(info, output.len());
        DERIVING.with_borrow_mut(|deriving| {
            let Some(Deriving::Giving { bytes, at }) = deriving else { return Err(OutputLengthError) };
            let known = bytes.get(*at..*at + wanted).ok_or(OutputLengthError)?;
            *at += wanted;
            output[..wanted].copy_from_slice(known);
            output[wanted..].fill(0);
            Ok(())
        })
    }

    fn expand_block(&self, _: &[&[u8]]) -> OkmBlock {
        OkmBlock::new(&[])
    }

    fn hash_len(&self) -> usize {
        0
    }
}

/// How much of the output is wanted: rustls has room for the longest key, and an HkdfLabel (RFC 8446 section 7.1) begins with
/// how long this one is.
fn wanted(info: &[&[u8]], room: usize) -> usize {
    let mut bytes = info.iter().copied().flatten().copied();
    match (bytes.next(), bytes.next()) {
        (Some(high), Some(low)) => usize::from(u16::from_be_bytes([high, low])).min(room),
        _ => room,
    }
}
