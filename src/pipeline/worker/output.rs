//! What comes from the other workers, and goes out as samples.

use std::collections::VecDeque;

use super::Worker;
use crate::pipeline::exchange::Sent;
use crate::pipeline::owner::Formed;
use crate::write;

impl Worker {
    /// Takes what another worker, or this one, has said to this owner.
    pub(super) fn receive(&mut self, sent: Sent) {
        let mut waiting = VecDeque::from([sent]);
        while let Some(sent) = waiting.pop_front() {
            let Some(checkpoint) = self.owner.receive(sent, &mut self.interner) else {
                continue;
            };
            self.freeze_owner(checkpoint);
            // What has waited for the barrier comes before what comes from now on.
            let mut released = self.owner.release();
            released.append(&mut waiting);
            waiting = released;
        }
    }

    /// Forms the samples of windows that have closed and hands them to the writer, as far as it has
    /// room. Where it has none, the worker goes on with everything but input: partials of others and
    /// barriers must not wait for a receiver.
    ///
    /// # Errors
    /// The writer has failed.
    pub(super) fn write_out(&mut self) -> Result<(), write::Stopped> {
        loop {
            if !self.writer.offer(self.number, &mut self.unsent)? {
                return Ok(());
            }
            if let Some(watermark) = self.unsent_until.take() {
                self.writer.flushed(self.number, watermark);
            }
            if !self.owner.is_due() {
                return Ok(());
            }
            let Formed { samples, watermark } = self.owner.form(&mut self.interner);
            self.unsent = samples.into();
            self.unsent_until = watermark;
        }
    }

    /// Whether samples wait for room at the writer.
    pub(in crate::pipeline) fn is_blocked(&self) -> bool {
        !self.unsent.is_empty()
    }
}
