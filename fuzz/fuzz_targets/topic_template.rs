//! Arbitrary text as a topic filter and arbitrary bytes as a topic: what is a filter is one to the broker as
//! well, and what stands at its named levels is part of the topic.
//!
//! The filter ends with the first line.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::model::TopicTemplate;

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == b'\n');
    let (filter, topic) = input.split_at(end.unwrap_or(input.len()));
    let topic = topic.strip_prefix(b"\n").unwrap_or(topic);
    let Ok(template) = String::from_utf8_lossy(filter).parse::<TopicTemplate>() else {
        return;
    };
    let plain: TopicTemplate = template.filter().parse().expect("a filter without names");
    assert_eq!(plain.names().count(), 0);
    for name in template.names() {
        let place = template.find(name).expect("its own name");
        if let Some(part) = template.capture(topic, place) {
            assert!(part.is_empty() || topic.windows(part.len()).any(|window| window == part));
            assert_eq!(plain.capture(topic, place), Some(part));
        }
    }
});
