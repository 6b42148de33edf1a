//! Why a worker ended before its time.

use crate::state::StoreError;
use crate::write;

/// Why a worker ended before its time.
#[derive(Debug)]
pub(in crate::pipeline) enum Failed {
    /// The writer takes no more, and knows why.
    Writer,
    /// State that is too large for memory cannot be kept, or not be read.
    State(StoreError),
}

impl From<write::Stopped> for Failed {
    fn from(_: write::Stopped) -> Self {
        Self::Writer
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::State(error)
    }
}
