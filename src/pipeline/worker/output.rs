//! What comes from the other workers, and goes out as samples.

use std::collections::VecDeque;

use super::Worker;
use super::failed::Failed;
use crate::pipeline::exchange::Sent;
use crate::pipeline::owner::Formed;

impl Worker {
    /// Takes what another worker, or this one, has said to this owner.
    ///
    /// # Errors
    /// State that is too large for memory cannot be kept.
    pub(super) fn receive(&mut self, sent: Sent) -> Result<(), Failed> {
        let mut waiting = VecDeque::from([sent]);
        while let Some(sent) = waiting.pop_front() {
            let Some(checkpoint) = self.owner.receive(sent, &mut self.interner)? else {
                continue;
            };
            self.freeze_owner(checkpoint)?;
            // What has waited for the barrier comes before what comes from now on.
            let mut released = self.owner.release();
            released.append(&mut waiting);
            waiting = released;
        }
        Ok(())
    }

    /// Forms the samples of windows that have closed and hands them to the writer, as far as it has
    /// room. Where it has none, the worker goes on with everything but input: partials of others and
    /// barriers must not wait for a receiver.
    ///
    /// # Errors
    /// The writer has failed, or state that is too large for memory cannot be read.
    pub(super) fn write_out(&mut self) -> Result<(), Failed> {
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
            let Formed { samples, watermark } = self.owner.form(&mut self.interner)?;
            self.unsent = samples.into();
            self.unsent_until = watermark;
        }
    }
}
