//! zstd (RFC 8878): one decoder for all records.

use std::fmt;

use zstd::stream::raw::{DParameter, Decoder, Operation};

use super::super::events::Refusal;
use super::{cannot, make_room};

/// The longest window, as a power of two of bytes: what RFC 8878 asks every decoder for.
const WINDOW_LOG: u32 = 23;

/// Expands what zstd has compressed.
#[derive(Default)]
pub(super) struct Unzstd(Option<Decoder<'static>>);

impl fmt::Debug for Unzstd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unzstd")
    }
}

impl Unzstd {
    /// Appends the data of all frames; everything together is at most `limit` bytes.
    ///
    /// # Errors
    /// It is damaged, or becomes longer.
    pub(super) fn expand(
        &mut self,
        mut bytes: &[u8],
        limit: usize,
        expanded: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let mut decoder = match self.0.take() {
            Some(decoder) => decoder,
            None => decoder().map_err(|error| damaged(&error))?,
        };
        decoder.reinit().map_err(|error| damaged(&error))?;
        let start = expanded.len();
        let mut written = start;
        loop {
            make_room(expanded, start, written, limit)?;
            let room = expanded.get_mut(written..).unwrap_or_default();
            // A decoder that has failed is not used again.
            let status = decoder.run_on_buffers(bytes, room);
            let status = status.map_err(|error| damaged(&error))?;
            bytes = bytes.get(status.bytes_read..).unwrap_or_default();
            written = written.saturating_add(status.bytes_written);
            if status.remaining == 0 && bytes.is_empty() {
                break;
            }
            if status.bytes_read == 0 && status.bytes_written == 0 {
                return Err(cannot("zstd", "cut off"));
            }
        }
        expanded.truncate(written);
        self.0 = Some(decoder);
        Ok(())
    }
}

fn decoder() -> std::io::Result<Decoder<'static>> {
    let mut decoder = Decoder::new()?;
    decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
    Ok(decoder)
}

fn damaged(error: &std::io::Error) -> Refusal {
    cannot("zstd", &error.to_string())
}
