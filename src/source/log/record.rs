//! What is in a record of the log: a message with its topic.
//!
//! | bytes | meaning                                   |
//! |-------|-------------------------------------------|
//! | 1     | version of the format: 1                  |
//! | 2     | the message's packet id, 0 where it has none |
//! | 2     | length of the topic                       |
//! | n     | topic                                     |
//! | rest  | payload                                   |
//!
//! Numbers are little-endian. When it was received stands in the log itself, beside each record
//! ([`durable::Record::time_ms`](crate::durable::Record::time_ms)): that is its `@timestamp`, which stays
//! the same however often it is read.

/// The version of the format that is written, and the newest that is read.
const VERSION: u8 = 1;

/// The bytes before the topic.
const HEAD_BYTES: usize = 5;

/// A message as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) struct Entry<'a> {
    /// By which the broker knows it until it is acknowledged; 0 where it is not to be. Over HTTP, its
    /// number within a request that has a key.
    pub(in crate::source) packet_id: u16,
    /// Its topic, at most 65535 bytes, as in MQTT; more are cut off. Over HTTP, the key of its request.
    pub(in crate::source) topic: &'a [u8],
    /// Its content.
    pub(in crate::source) payload: &'a [u8],
}

/// Why a record of the log is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::source) enum InvalidEntry {
    #[error("it has version {0} of the format, this weir reads up to version {VERSION}")]
    Version(u8),
    #[error("it ends within its topic")]
    Short,
}

impl<'a> Entry<'a> {
    /// How many bytes it takes.
    pub(in crate::source) fn size(&self) -> usize {
        HEAD_BYTES + self.topic.len() + self.payload.len()
    }

    /// Writes it over what is in `out`.
    pub(in crate::source) fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        out.reserve(self.size());
        out.push(VERSION);
        out.extend_from_slice(&self.packet_id.to_le_bytes());
        let length = u16::try_from(self.topic.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(self.topic.get(..usize::from(length)).unwrap_or_default());
        out.extend_from_slice(self.payload);
    }

    /// Reads a record.
    ///
    /// # Errors
    /// It is of a newer version, or too short.
    pub(in crate::source) fn decode(bytes: &'a [u8]) -> Result<Self, InvalidEntry> {
        match bytes.first() {
            Some(&VERSION) => {}
            Some(version) => return Err(InvalidEntry::Version(*version)),
            None => return Err(InvalidEntry::Short),
        }
        let number = |at: usize| {
            let bytes = bytes.get(at..at + 2)?.try_into().ok()?;
            Some(u16::from_le_bytes(bytes))
        };
        let (Some(packet_id), Some(length)) = (number(1), number(3)) else {
            return Err(InvalidEntry::Short);
        };
        let rest = bytes.get(HEAD_BYTES..).unwrap_or_default();
        let (topic, payload) = rest
            .split_at_checked(usize::from(length))
            .ok_or(InvalidEntry::Short)?;
        Ok(Self {
            packet_id,
            topic,
            payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_format_stays() {
        let entry = Entry {
            packet_id: 0x0102,
            topic: b"cars/1",
            payload: b"{}",
        };
        let mut bytes = vec![9; 100];
        entry.encode(&mut bytes);
        assert_eq!(bytes, b"\x01\x02\x01\x06\x00cars/1{}");
        assert_eq!(bytes.len(), entry.size());
        assert_eq!(Entry::decode(&bytes), Ok(entry));
    }

    #[test]
    fn what_is_no_message_is_told() {
        assert_eq!(Entry::decode(b""), Err(InvalidEntry::Short));
        assert_eq!(Entry::decode(b"\x01\x00\x00\x01"), Err(InvalidEntry::Short));
        assert_eq!(
            Entry::decode(b"\x01\x00\x00\x03\x00ab"),
            Err(InvalidEntry::Short)
        );
        let error = Entry::decode(b"\x02\x00\x00\x00\x00").unwrap_err();
        assert_eq!(
            error.to_string(),
            "it has version 2 of the format, this weir reads up to version 1"
        );
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(packet_id: u16, topic: Vec<u8>, payload: Vec<u8>) {
            let entry = Entry { packet_id, topic: &topic, payload: &payload };
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            prop_assert_eq!(Entry::decode(&bytes), Ok(entry));
        }
    }
}
