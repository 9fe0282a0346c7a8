//! Taking back a reaction to losses, should every one of them turn out to be a mere delay.

/// The state before the last reaction, and how many of the losses that it answers have not arrived yet.
#[derive(Debug)]
pub(super) struct Undo<S> {
    /// Counts the reactions.
    epoch: u32,
    kept: Option<Box<(S, u32)>>,
}

impl<S> Default for Undo<S> {
    fn default() -> Self {
        Self { epoch: 0, kept: None }
    }
}

impl<S> Undo<S> {
    /// The number of the last reaction.
    pub(super) const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// A reaction begins; `before` is the state to go back to. Without it the reaction is final.
    pub(super) fn begin(&mut self, before: Option<S>) {
        self.epoch = self.epoch.wrapping_add(1);
        self.kept = before.map(|state| Box::new((state, 0)));
    }

    /// `count` packets were lost that belong to the last reaction.
    pub(super) const fn lost(&mut self, count: u32) {
        if let Some(kept) = &mut self.kept {
            kept.1 = kept.1.saturating_add(count);
        }
    }

    /// A lost packet of the reaction `epoch` arrived after all. Gives the state to go back to if it was
    /// the last one that was missing.
    pub(super) fn arrived(&mut self, epoch: Option<u32>) -> Option<S> {
        let (_, missing) = self.kept.as_deref_mut().filter(|_| epoch == Some(self.epoch))?;
        *missing = missing.saturating_sub(1);
        if *missing == 0 { self.kept.take().map(|kept| kept.0) } else { None }
    }

    /// A lost packet of the reaction `epoch` never arrived: the reaction stands.
    pub(super) fn gone(&mut self, epoch: Option<u32>) {
        if epoch == Some(self.epoch) {
            self.kept = None;
        }
    }

    /// The last reaction stands, whatever arrives.
    pub(super) fn settle(&mut self) {
        self.kept = None;
    }

    /// The state that is kept.
    pub(super) fn kept_mut(&mut self) -> Option<&mut S> {
        self.kept.as_deref_mut().map(|(state, _)| state)
    }
}
