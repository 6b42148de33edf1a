//! A sample as one line of JSON.

use std::io::{self, Write};

use crate::model::{NativeHistogram, STALE_NAN_BITS, Sample, SampleValue};

/// Whole numbers below this are exact in a 64-bit float: 2^53.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// How JSON says that a series has ended; see [`STALE_NAN_BITS`].
pub const STALE: &str = "StaleNaN";

/// Writes a sample as JSON with a newline behind it.
///
/// # Errors
/// What the output reports.
pub(super) fn write_line(out: &mut impl Write, sample: &Sample) -> io::Result<()> {
    write_sample(out, sample)?;
    out.write_all(b"\n")
}

/// Writes a sample as JSON.
///
/// # Errors
/// What the output reports.
pub(super) fn write_sample(out: &mut impl Write, sample: &Sample) -> io::Result<()> {
    out.write_all(b"{\"name\":")?;
    write_text(out, sample.series.name())?;
    out.write_all(b",\"labels\":{")?;
    for (index, (name, value)) in sample.series.labels().iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        write_text(out, name)?;
        out.write_all(b":")?;
        write_text(out, value)?;
    }
    write!(out, "}},\"timestamp_ms\":{},", sample.timestamp_ms)?;
    match &sample.value {
        SampleValue::Number(value) => {
            out.write_all(b"\"value\":")?;
            write_number(out, *value)?;
        }
        SampleValue::Histogram(histogram) => write_histogram(out, histogram)?,
    }
    out.write_all(b"}")
}

/// Buckets as pairs of index and count, so that a line says all that is known of the histogram.
fn write_histogram(out: &mut impl Write, histogram: &NativeHistogram) -> io::Result<()> {
    write!(
        out,
        "\"histogram\":{{\"schema\":{},\"zero_threshold\":",
        histogram.schema
    )?;
    write_number(out, histogram.zero_threshold)?;
    write!(
        out,
        ",\"zero_count\":{},\"count\":{},\"sum\":",
        histogram.zero_count, histogram.count
    )?;
    write_number(out, histogram.sum)?;
    for (name, buckets) in [
        ("positive", &histogram.positive),
        ("negative", &histogram.negative),
    ] {
        write!(out, ",\"{name}\":")?;
        serde_json::to_writer(&mut *out, buckets)?;
    }
    out.write_all(b"}")
}

fn write_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    Ok(serde_json::to_writer(out, text)?)
}

fn write_number(out: &mut impl Write, value: f64) -> io::Result<()> {
    if value.to_bits() == STALE_NAN_BITS {
        return write!(out, "\"{STALE}\"");
    }
    // JSON has no infinity; these are the texts of Prometheus' own JSON.
    if value == f64::INFINITY {
        return out.write_all(b"\"+Inf\"");
    }
    if value == f64::NEG_INFINITY {
        return out.write_all(b"\"-Inf\"");
    }
    let is_minus_zero = value == 0.0 && value.is_sign_negative();
    if value.fract() == 0.0 && value.abs() < EXACT && !is_minus_zero {
        return write!(out, "{value:.0}");
    }
    Ok(serde_json::to_writer(out, &value)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::testing::{histogram, sample};

    fn line(sample: &Sample) -> String {
        let mut line = Vec::new();
        write_line(&mut line, sample).unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn writes_one_object_a_line() {
        let labels = [("region", "UK"), ("model", "Helion")];
        assert_eq!(
            line(&sample(
                "vehicles_in_motion",
                &labels,
                1_730_621_750_000,
                12.0
            )),
            "{\"name\":\"vehicles_in_motion\",\"labels\":{\"model\":\"Helion\",\"region\":\"UK\"},\
             \"timestamp_ms\":1730621750000,\"value\":12}\n"
        );
    }

    #[test]
    fn writes_a_histogram_in_the_place_of_the_value() {
        assert_eq!(
            line(&sample("speed", &[], 5_000, histogram())),
            "{\"name\":\"speed\",\"labels\":{},\"timestamp_ms\":5000,\"histogram\":{\"schema\":1,\
             \"zero_threshold\":1e-128,\"zero_count\":1,\"count\":7,\"sum\":104.5,\
             \"positive\":[[0,2],[2,1],[4,1],[14,1]],\"negative\":[[4,1]]}}\n"
        );
    }

    #[test]
    fn escapes_texts() {
        assert_eq!(
            line(&sample("up", &[("a", "\"\\\n日")], -1, 0.0)),
            "{\"name\":\"up\",\"labels\":{\"a\":\"\\\"\\\\\\n日\"},\"timestamp_ms\":-1,\"value\":0}\n"
        );
    }

    #[test]
    fn writes_numbers_that_read_back_as_they_were() {
        for (value, expected) in [
            (12.0, "12"),
            (-3.0, "-3"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (9_007_199_254_740_992.0, "9007199254740992.0"),
            (0.1, "0.1"),
            (-0.0, "-0.0"),
            (1.0 / 3.0, "0.3333333333333333"),
            (1e300, "1e+300"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "\"+Inf\""),
            (f64::NEG_INFINITY, "\"-Inf\""),
        ] {
            let mut written = Vec::new();
            write_number(&mut written, value).unwrap();
            let written = String::from_utf8(written).unwrap();
            assert_eq!(written, expected);
            if value.is_finite() {
                assert_eq!(written.parse::<f64>().unwrap().to_bits(), value.to_bits());
            }
        }
    }
}
