//! What a checkpoint says of the tables that lookups look into. It does not hold the tables: they are
//! loaded again.

use crate::model::{Corrupt, Decoder, Encoder};

/// The version of the format.
const VERSION: u8 = 1;

/// How many bytes a table takes at least.
const TABLE_BYTES: usize = 24;

/// A table at the time of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LookupState {
    /// The name of the lookup.
    pub(super) lookup: String,
    /// How many times the table was loaded by the run that has made the checkpoint.
    pub(super) version: u64,
    /// How many rows it had.
    pub(super) rows: u64,
}

/// The part of a checkpoint that tells of the tables.
pub(super) fn encode_lookups(lookups: &[LookupState]) -> Vec<u8> {
    let mut out = Encoder::new();
    out.u8(VERSION);
    out.count(lookups.len());
    for state in lookups {
        out.text(&state.lookup);
        out.u64(state.version);
        out.u64(state.rows);
    }
    out.into_bytes()
}

/// The tables of such a part.
///
/// # Errors
/// The bytes are no such part, or one of another version.
pub(super) fn decode_lookups(bytes: &[u8]) -> Result<Vec<LookupState>, Corrupt> {
    let mut from = Decoder::new(bytes);
    let version = from.u8()?;
    if version != VERSION {
        let reason = format!("tables of format {version}; this version reads {VERSION}");
        return Err(from.corrupt(reason));
    }
    let count = from.count(TABLE_BYTES)?;
    let lookups = (0..count).map(|_| {
        Ok(LookupState {
            lookup: from.text()?.to_owned(),
            version: from.u64()?,
            rows: from.u64()?,
        })
    });
    let lookups = lookups.collect::<Result<_, Corrupt>>()?;
    from.end()?;
    Ok(lookups)
}

/// Says in the log which tables have another number of rows than at the checkpoint: events behind it
/// may find other values. Gives the names of their lookups.
pub(super) fn tell_changes<'n>(then: &[LookupState], now: &'n [LookupState]) -> Vec<&'n str> {
    let mut changed = Vec::new();
    for state in now {
        let known = then.iter().find(|known| known.lookup == state.lookup);
        let Some(known) = known.filter(|known| known.rows != state.rows) else {
            continue;
        };
        tracing::info!(
            lookup = state.lookup,
            rows_at_checkpoint = known.rows,
            rows = state.rows,
            "the table has changed since the checkpoint"
        );
        changed.push(&*state.lookup);
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(lookup: &str, version: u64, rows: u64) -> LookupState {
        LookupState {
            lookup: lookup.to_owned(),
            version,
            rows,
        }
    }

    #[test]
    fn tables_are_read_as_they_were_written_and_no_cut_is_taken_for_them() {
        let lookups = [state("fleet", 3, 1_000), state("zones", 1, 0)];
        let bytes = encode_lookups(&lookups);
        assert_eq!(decode_lookups(&bytes).unwrap(), lookups);
        for end in 0..bytes.len() {
            assert!(decode_lookups(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn tables_with_other_rows_are_told() {
        let then = [state("fleet", 3, 10), state("zones", 1, 2)];
        let now = [
            state("fleet", 1, 11),
            state("zones", 7, 2),
            state("new", 1, 1),
        ];
        assert_eq!(tell_changes(&then, &now), ["fleet"]);
    }
}
