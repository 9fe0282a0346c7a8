//! What a worker was asked, as a future.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::state::lock;

/// What is asked for: `None` when it turns out that nobody will tell.
pub(super) struct Answer<T>(Arc<Mutex<State<T>>>);

/// Who tells. Dropping it tells that nobody will.
pub(super) struct Teller<T>(Arc<Mutex<State<T>>>);

struct State<T> {
    told: Option<Option<T>>,
    waker: Option<Waker>,
}

impl<T> Answer<T> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { told: None, waker: None })))
    }

    /// For one who tells; there should be one.
    pub(super) fn teller(&self) -> Teller<T> {
        Teller(self.0.clone())
    }
}

impl<T> Teller<T> {
    pub(super) fn tell(self, answer: T) {
        self.settle(Some(answer));
    }

    fn settle(&self, answer: Option<T>) {
        let mut state = lock(&self.0);
        if state.told.is_none() {
            state.told = Some(answer);
        }
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl<T> Drop for Teller<T> {
    fn drop(&mut self) {
        self.settle(None);
    }
}

impl<T> Future for Answer<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = lock(&self.0);
        match state.told.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
