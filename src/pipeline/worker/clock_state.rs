//! The clocks of devices in a checkpoint: a part for each split, under its name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Corrupt, Decoder, Encoder, Interner, SymbolReader, SymbolWriter, Texts};
use crate::window::clock::Clocks;

/// What is known of the clocks of a split's devices, frozen.
#[derive(Debug)]
pub(in crate::pipeline) struct ClockSnapshot {
    /// The split's name.
    pub(in crate::pipeline) split: Arc<str>,
    pub(in crate::pipeline) clocks: Arc<Clocks>,
}

impl ClockSnapshot {
    /// Its bytes. `texts` are those of the worker's interner, of then or later.
    pub(in crate::pipeline) fn encode(&self, texts: &Texts) -> Vec<u8> {
        let (mut out, mut symbols) = (Encoder::new(), SymbolWriter::new(texts));
        self.clocks.encode(&mut out, &mut symbols);
        symbols.finish(&out)
    }
}

/// The parts of a checkpoint that hold clocks, by the names of their splits.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct ClockStates {
    parts: BTreeMap<Arc<str>, Vec<u8>>,
}

impl ClockStates {
    /// Adds the part of a split.
    ///
    /// # Errors
    /// The bytes are no clocks.
    pub(in crate::pipeline) fn add(
        &mut self,
        split: Arc<str>,
        bytes: Vec<u8>,
    ) -> Result<(), Corrupt> {
        decode(&bytes, 0, &mut Interner::new())?;
        self.parts.insert(split, bytes);
        Ok(())
    }

    /// All parts. Those of splits that no worker has belong to the next checkpoint as well.
    pub(in crate::pipeline) fn parts(&self) -> impl Iterator<Item = (&Arc<str>, &[u8])> {
        self.parts.iter().map(|(split, bytes)| (split, &**bytes))
    }

    /// The clocks of a split, where there are any; they may be wrong by `max_skew_ms`.
    pub(in crate::pipeline) fn clocks(
        &self,
        split: &str,
        max_skew_ms: i64,
        interner: &mut Interner,
    ) -> Option<Clocks> {
        // Read once already.
        decode(self.parts.get(split)?, max_skew_ms, interner).ok()
    }
}

fn decode(bytes: &[u8], max_skew_ms: i64, interner: &mut Interner) -> Result<Clocks, Corrupt> {
    let mut from = Decoder::new(bytes);
    let symbols = SymbolReader::read(&mut from, interner)?;
    let clocks = Clocks::decode(&mut from, &symbols, max_skew_ms)?;
    from.end()?;
    Ok(clocks)
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::config;
    use crate::model::{Batch, Column, HoldsSymbols, LiveSymbols, Split, SplitId, TimestampMs};
    use crate::pipeline::worker::clock_metrics::ClockMetrics;
    use crate::pipeline::worker::clocks::{ClockStage, Judged, Quarantined};
    use crate::telemetry::Registry;

    const START: i64 = 1_730_621_750_000;

    fn stage() -> ClockStage {
        let description = config::Clocks {
            device: 0,
            by: Vec::new(),
            max_skew_ms: 5_000,
            quarantine: true,
        };
        let metrics = ClockMetrics::new(&Registry::new("test"), &[]);
        ClockStage::new(0, &description, metrics)
    }

    fn split() -> Split {
        Split {
            id: SplitId(0),
            name: "a".into(),
        }
    }

    /// Batches of devices, one in four of which has a wrong clock.
    fn batches(interner: &mut Interner) -> Vec<Batch> {
        let mut random = Rng::with_seed(7);
        let batches = (0..40_i64).map(|number| {
            let mut batch = Batch::new(SplitId(0));
            let rows: Vec<_> = (0..6).map(|_| random.i64(0..8)).collect();
            let symbols = rows.iter().map(|row| interner.intern(&format!("V{row}")));
            batch.columns = vec![Column::Text(symbols.collect())];
            batch.received = vec![START + number * 1_000; 6];
            let time = |row: &i64| {
                let skew = if row % 4 == 1 { 60_000 } else { 0 };
                START + number * 1_000 + skew - random.i64(0..2_000)
            };
            batch.times = rows.iter().map(time).collect();
            batch.positions = (0..6).map(|row| number as u64 * 6 + row).collect();
            batch
        });
        batches.collect()
    }

    fn marks(judged: &Judged) -> Vec<TimestampMs> {
        judged.marks.clone()
    }

    #[test]
    fn clocks_go_on_from_settled_batches() {
        let mut interner = Interner::new();
        let mut uncut = stage();
        let expected: Vec<(Vec<TimestampMs>, Vec<Quarantined>)> = batches(&mut interner)
            .iter_mut()
            .map(|batch| {
                let judged = uncut.judge(batch);
                (marks(&judged), uncut.settle(&judged, batch))
            })
            .collect();
        assert!(expected.iter().any(|(_, dropped)| !dropped.is_empty()));

        let mut before = stage();
        before.let_wait();
        before.assign(&split(), &mut interner);
        let mut batches = batches(&mut interner);
        let (judged, settled) = (20, 12);
        let waiting: Vec<_> = batches[..judged]
            .iter_mut()
            .map(|batch| before.judge(batch))
            .collect();
        let mut settle = |stage: &mut ClockStage, number: usize| {
            stage.settle(&waiting[number], &mut batches[number])
        };
        for (number, expected) in expected.iter().enumerate().take(settled) {
            assert_eq!(settle(&mut before, number), expected.1);
        }
        let snapshot = before.freeze();
        assert_eq!(&*snapshot[0].split, "a");
        // What was frozen stays as it is.
        settle(&mut before, settled);
        let bytes = snapshot[0].encode(&interner.texts());

        let mut states = ClockStates::default();
        for end in 0..bytes.len() {
            let cut = bytes[..end].to_vec();
            assert!(states.add("a".into(), cut).is_err(), "{end}");
        }
        states.add("a".into(), bytes.clone()).unwrap();
        let parts: Vec<_> = states.parts().collect();
        assert_eq!(parts, [(&Arc::from("a"), &bytes[..])]);
        let mut interner = Interner::new();
        interner.intern("so that symbols differ");
        let mut after = stage();
        after.restore(Arc::new(states));
        after.assign(&split(), &mut interner);
        let mut batches = self::batches(&mut interner);
        for (number, expected) in expected.iter().enumerate().skip(settled) {
            let judged = after.judge(&mut batches[number]);
            assert_eq!(marks(&judged), expected.0, "{number}");
            let dropped = after.settle(&judged, &mut batches[number]);
            assert_eq!(dropped, expected.1, "{number}");
        }
        after.revoke(SplitId(0));
        after.assign(&split(), &mut interner);
        assert_eq!(after.freeze().len(), 0, "somebody else has read on");
    }

    #[test]
    fn clocks_go_on_under_other_symbols_and_are_saved_as_the_same() {
        let counted = |registry: &Registry| {
            let description = config::Clocks {
                device: 0,
                by: vec![("v".into(), 0)],
                max_skew_ms: 5_000,
                quarantine: true,
            };
            ClockStage::new(0, &description, ClockMetrics::new(registry, &["v"]))
        };
        let mut interner = Interner::new();
        let registry = Registry::new("test");
        let mut uncut = counted(&registry);
        let expected: Vec<_> = batches(&mut interner)
            .iter_mut()
            .map(|batch| {
                let judged = uncut.judge(batch);
                (marks(&judged), uncut.settle(&judged, batch))
            })
            .collect();
        uncut.report(&interner);
        let expected_metrics = Registry::text([&registry]);
        assert!(expected_metrics.contains("v=\"V1\""), "{expected_metrics}");

        let mut interner = Interner::new();
        interner.intern("nobody needs this");
        let registry = Registry::new("test");
        let mut stage = counted(&registry);
        stage.let_wait();
        stage.assign(&split(), &mut interner);
        let mut batches = batches(&mut interner);
        let (judged, settled) = (20, 12);
        let mut waiting: Vec<_> = batches
            .iter_mut()
            .take(judged)
            .map(|b| stage.judge(b))
            .collect();
        for number in 0..settled {
            let dropped = stage.settle(&waiting[number], &mut batches[number]);
            assert_eq!(dropped, expected[number].1);
        }
        let (snapshot, texts) = (stage.freeze(), interner.texts());
        let mut live = LiveSymbols::new(interner.len());
        stage.mark_live(&mut live);
        waiting.mark_live(&mut live);
        batches.mark_live(&mut live);
        let numbers = interner.compact(&live);
        stage.renumber(&numbers);
        waiting.renumber(&numbers);
        batches.renumber(&numbers);
        assert_eq!(interner.find("nobody needs this"), None);
        let saved = stage.freeze()[0].encode(&interner.texts());
        assert_eq!(saved, snapshot[0].encode(&texts));

        for (number, expected) in expected.iter().enumerate().skip(settled) {
            if number >= judged {
                waiting.push(stage.judge(&mut batches[number]));
            }
            assert_eq!(marks(&waiting[number]), expected.0, "{number}");
            let dropped = stage.settle(&waiting[number], &mut batches[number]);
            assert_eq!(dropped, expected.1, "{number}");
        }
        stage.report(&interner);
        assert_eq!(Registry::text([&registry]), expected_metrics);
    }
}
