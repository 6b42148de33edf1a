//! Paths into JSON objects.

use serde_json::{Map, Value};

/// Keys from an object inwards, which are written with dots between them.
#[derive(Debug, Clone)]
pub(super) struct JsonPath<'a>(Vec<&'a str>);

impl<'a> JsonPath<'a> {
    pub(super) fn new(path: &'a str) -> Self {
        Self(path.split('.').collect())
    }

    /// The value in an object; nothing where some key on the way to it is missing.
    pub(super) fn find<'v>(&self, object: &'v Map<String, Value>) -> Option<&'v Value> {
        let (first, inner) = self.0.split_first()?;
        inner
            .iter()
            .try_fold(object.get(*first)?, |value, key| value.get(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn finds_values_by_their_keys() {
        let value = json!({ "a": { "b": 1, "c": null }, "d": [2] });
        let object = value.as_object().unwrap();
        let find = |path| JsonPath::new(path).find(object);
        assert_eq!(find("a.b"), Some(&json!(1)));
        assert_eq!(find("a.c"), Some(&Value::Null));
        for path in ["a.x", "a.b.c", "d.0", "x", ""] {
            assert_eq!(find(path), None, "{path}");
        }
    }
}
