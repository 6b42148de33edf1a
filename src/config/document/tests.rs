use proptest::prelude::*;

use super::*;
use PathSegment::{Index, Key};

fn variables(name: &str) -> Option<String> {
    match name {
        "HOST" => Some("kafka".to_owned()),
        "PORT" => Some("9092".to_owned()),
        _ => None,
    }
}

fn parse(text: &str) -> (Option<Document>, String) {
    let mut problems = Problems::new("x.yaml", text);
    let document = Document::parse(text, &variables, &mut problems);
    (document, problems.to_string())
}

fn valid(text: &str) -> Document {
    let (document, problems) = parse(text);
    assert_eq!(problems, "", "{text}");
    document.unwrap()
}

fn problems_of(text: &str) -> String {
    parse(text).1
}

/// The tree in one line: keys and texts with their places.
fn outline(node: &Node) -> String {
    let at = |place: &Place| match place {
        Place::File {
            line,
            column,
            width,
        } => format!("@{line}:{column}+{width}"),
        Place::Argument(name) => format!("@{name}"),
    };
    match &node.kind {
        Kind::Unresolved => "?".to_owned(),
        Kind::Scalar(scalar) => format!("{:?}{}", scalar.text, at(&node.place)),
        Kind::Sequence(items) => {
            let items: Vec<_> = items.iter().map(outline).collect();
            format!("[{}]{}", items.join(" "), at(&node.place))
        }
        Kind::Mapping(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|entry| {
                    format!(
                        "{}{}={}",
                        entry.key,
                        at(&entry.key_place),
                        outline(&entry.value)
                    )
                })
                .collect();
            format!("{{{}}}{}", entries.join(" "), at(&node.place))
        }
    }
}

fn outline_of(text: &str) -> String {
    outline(valid(text).root())
}

#[test]
fn knows_the_place_of_everything() {
    for (text, expected) in [
        ("a: b", r#"{a@1:1+1="b"@1:4+1}@1:1+1"#),
        (
            "# c\n\nkey:   value  # c\n",
            r#"{key@3:1+3="value"@3:8+5}@3:1+1"#,
        ),
        (
            "a:\n  b:\n    - c\n    - [d, e]\n",
            r#"{a@1:1+1={b@2:3+1=["c"@3:7+1 ["d"@4:8+1 "e"@4:11+1]@4:7+1]@3:5+1}@2:3+1}@1:1+1"#,
        ),
        (
            "{ü: 'ä', 日本: \"x\"}",
            r#"{ü@1:2+1="ä"@1:5+3 日本@1:10+2="x"@1:14+3}@1:1+1"#,
        ),
        (
            "a:\nb: ~\nc: ''",
            r#"{a@1:1+1=""@1:1+1 b@2:1+1="~"@2:4+1 c@3:1+1=""@3:4+2}@1:1+1"#,
        ),
        ("{a, b: }", r#"{a@1:2+1=""@1:2+1 b@1:5+1=""@1:5+1}@1:1+1"#),
        (
            "a: |\n  x\n  y\nb: >-\n  x\n  y\n",
            r#"{a@1:1+1="x\ny\n"@2:3+1 b@4:1+1="x y"@5:3+1}@1:1+1"#,
        ),
        (
            "a: one\n  two\nb: 1",
            r#"{a@1:1+1="one two"@1:4+3 b@3:1+1="1"@3:4+1}@1:1+1"#,
        ),
        ("\u{feff}a: b", r#"{a@1:1+1="b"@1:4+1}@1:1+1"#),
        (
            "a: b\r\nc:\r\n  d: e\r\n",
            r#"{a@1:1+1="b"@1:4+1 c@2:1+1={d@3:3+1="e"@3:6+1}@3:3+1}@1:1+1"#,
        ),
        ("---\na: b\n...\n", r#"{a@2:1+1="b"@2:4+1}@2:1+1"#),
        ("a: b\t# c\n", r#"{a@1:1+1="b"@1:4+1}@1:1+1"#),
        ("'a b': \"c\\u00e4\"", r#"{a b@1:1+5="cä"@1:8+9}@1:1+1"#),
    ] {
        assert_eq!(outline_of(text), expected, "{text:?}");
    }
}

#[test]
fn resolves_aliases_to_where_they_were_written() {
    assert_eq!(
        outline_of("a: &x {b: c}\nd: *x\n"),
        r#"{a@1:1+1={b@1:8+1="c"@1:11+1}@1:4+1 d@2:1+1={b@1:8+1="c"@1:11+1}@1:4+1}@1:1+1"#
    );
}

#[test]
fn refuses_aliases_that_never_end() {
    assert_eq!(
        problems_of("a: &x [*x]"),
        "x.yaml:1:8: this alias stands within its own anchor; move it out"
    );
    let mut laughs = "a0: &a0 [l, l, l, l, l, l, l, l, l, l]\n".to_owned();
    for level in 1..10 {
        let before = level - 1;
        let items = vec![format!("*a{before}"); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    let problems = problems_of(&laughs);
    assert!(
        problems.ends_with("more than 100000 values, those of aliases included"),
        "{problems}"
    );
}

#[test]
fn refuses_what_is_nested_too_deeply() {
    for text in [
        "[".repeat(10_000),
        "- ".repeat(10_000),
        "{a: ".repeat(10_000),
    ] {
        let problems = problems_of(&text);
        assert!(
            problems.ends_with("nested deeper than 64 levels; write it flatter"),
            "{problems}"
        );
    }
    let steep: String = (0..10_000)
        .map(|level| format!("{}a:\n", " ".repeat(level.min(90))))
        .collect();
    let problems = problems_of(&steep);
    assert!(
        problems.ends_with("nested deeper than 64 levels; write it flatter"),
        "{problems}"
    );
    let chain: String = std::iter::once("a0: &a0 [x]\n".to_owned())
        .chain((1..100).map(|n| format!("a{n}: &a{n} [*a{}]\n", n - 1)))
        .collect();
    let problems = problems_of(&chain);
    assert!(
        problems.ends_with("nested deeper than 64 levels; write it flatter"),
        "{problems}"
    );
}

#[test]
fn reports_every_bad_key_and_goes_on() {
    let text = "a: 1\nb: 2\na: 3\n[x]: 4\n<<: 5\n'': 6\n{c: d}: 7\ne: 8\n";
    let (document, problems) = parse(text);
    assert_eq!(
        problems,
        "x.yaml:3:1: key 'a' is given twice, first on line 1\n\
         x.yaml:4:1: a mapping or a list cannot be a key; write a text\n\
         x.yaml:5:1: '<<' is not supported; write the keys out, or use an alias\n\
         x.yaml:6:1: a key is missing before ':'\n\
         x.yaml:7:1: a mapping or a list cannot be a key; write a text"
    );
    assert_eq!(
        outline(document.unwrap().root()),
        r#"{a@1:1+1="1"@1:4+1 b@2:1+1="2"@2:4+1 e@8:1+1="8"@8:4+1}@1:1+1"#
    );
}

#[test]
fn names_the_place_of_what_is_no_yaml() {
    for (text, expected) in [
        (
            "a: b: c\n",
            "x.yaml:1:5: invalid YAML: mapping values are not allowed in this context; put quotes \
             around a text that holds ': '",
        ),
        (
            "a:\n\tb: 1\n",
            "x.yaml:2:2: invalid YAML: tabs disallowed within this context (block indentation); \
             write spaces instead of tabs",
        ),
        (
            "a: {url: ${HOST}}\n",
            "x.yaml:1:11: invalid YAML: while parsing a flow mapping, did not find expected ',' \
             or '}'; put quotes around a value with ${…} that stands within { } or [ ]",
        ),
        (
            "a: 'b\n",
            "x.yaml:1:4: invalid YAML: while scanning a quoted scalar, found unexpected end of \
             stream",
        ),
        (
            "a:\tb\n",
            "x.yaml:1:4: invalid YAML: ':' must be followed by a valid YAML whitespace; write \
             spaces instead of tabs",
        ),
        (
            "a: *x\n",
            "x.yaml:1:4: invalid YAML: while parsing node, found unknown anchor",
        ),
        (
            "a: b\0c",
            "x.yaml:1:5: the control character U+0000 is not YAML",
        ),
        ("", "x.yaml:1:1: there is nothing but comments in it"),
        (
            "# only a comment\n",
            "x.yaml:1:1: there is nothing but comments in it",
        ),
        (
            "a: 1\n---\nb: 2\n",
            "x.yaml:2:1: a second document begins here; write one document a file",
        ),
        (
            "a: !!str 5\nb: !x {}\n",
            "x.yaml:1:4: the tag '!!str' has no meaning here; remove it, and put quotes around \
             text\nx.yaml:2:4: the tag '!x' has no meaning here; remove it, and put quotes around \
             text",
        ),
    ] {
        assert_eq!(problems_of(text), expected, "{text:?}");
    }
    assert_eq!(
        problems_of(&"#".repeat(MAX_FILE_BYTES + 1)),
        "x.yaml:1:1: longer than 1048576 bytes"
    );
}

#[test]
fn replaces_variables_in_values_only() {
    assert_eq!(
        outline_of("${HOST}: \"${HOST}:${PORT}\"\nb: ['${NONE:-5}', $$x, ^a$]\n"),
        "{${HOST}@1:1+7=\"kafka:9092\"@1:10+17 \
         b@2:1+1=[\"5\"@2:5+12 \"$x\"@2:19+3 \"^a$\"@2:24+3]@2:4+1}@1:1+1"
    );
}

#[test]
fn reports_variables_at_their_places() {
    assert_eq!(
        problems_of("a: \"ü ${A}/${B}\"\nb: |\n  x\n  ${C}\n"),
        "x.yaml:1:7: the variable 'A' is not set; set it or give a default, ${A:-default}\n\
         x.yaml:1:12: the variable 'B' is not set; set it or give a default, ${B:-default}\n\
         x.yaml:4:3: the variable 'C' is not set; set it or give a default, ${C:-default}"
    );
    let (document, _) = parse("a: ${A}\nb: c\n");
    assert_eq!(
        outline(document.unwrap().root()),
        r#"{a@1:1+1=? b@2:1+1="c"@2:4+1}@1:1+1"#
    );
}

#[test]
fn finds_values_and_keys_by_path() {
    let document = valid("a:\n  b: [x, {c: yy}]\n  d:\n");
    let place = |line, column, width| Place::File {
        line,
        column,
        width,
    };
    let path = [Key("a"), Key("b"), Index(1), Key("c")];
    assert_eq!(document.place(&path), place(2, 14, 2));
    assert_eq!(document.place_of_key(&path), place(2, 11, 1));
    assert_eq!(document.place_of_key(&path[..3]), place(2, 10, 1));
    assert_eq!(document.place(&[]), place(1, 1, 1));
    assert_eq!(document.place(&["a".into(), "d".into()]), place(3, 3, 1));
    assert_eq!(
        document.place(&["a".into(), "missing".into(), 0.into()]),
        place(1, 1, 1)
    );
    assert_eq!(
        document.place(&["a".into(), "b".into(), 7.into()]),
        place(2, 3, 1)
    );
    assert_eq!(document.get(&path).unwrap().as_scalar().unwrap().text, "yy");
    assert_eq!(document.get(&[Key("a"), Index(0)]), None);
}

/// What the place of `needle` in the value of `v` underlines in the file.
fn underlined(text: &str, needle: &str) -> (usize, String) {
    let document = valid(text);
    let path = [Key("v")];
    let value = &document.get(&path).unwrap().as_scalar().unwrap().text;
    let offset = value.find(needle).unwrap();
    let Place::File {
        line,
        column,
        width,
    } = document.place_in(&path, offset, needle.len())
    else {
        panic!("not in the file");
    };
    let line_text = document.lines.get(line).unwrap();
    (
        line,
        line_text.chars().skip(column - 1).take(width).collect(),
    )
}

#[test]
fn finds_offsets_within_scalars() {
    for (text, needle, expected) in [
        ("v: sum(lights)", "lights", (1, "lights")),
        ("ü: 1\nv: ü + lights", "lights", (2, "lights")),
        ("{v: ü + lights, b: 1}", "lights", (1, "lights")),
        ("v: 'kind = ''X'' or bad'", "bad", (1, "bad")),
        ("v: 'kind = ''X'' or bad'", "'X'", (1, "''X''")),
        (r#"v: "a \"b\" \u00e4 \x41 bad""#, "bad", (1, "bad")),
        (r#"v: "a \"b\" \u00e4 \x41 bad""#, "ä", (1, r"\u00e4")),
        (r#"v: "tab\t\\bad""#, "bad", (1, "bad")),
        ("v: |\n  one\n    two bad\n\n  three\n", "bad", (3, "bad")),
        (
            "v: |\n  one\n    two bad\n\n  three\n",
            "three",
            (5, "three"),
        ),
        ("v: >-\n  one\n  two bad\n\n  three\n", "bad", (3, "bad")),
        (
            "v: >-\n  one\n  two bad\n\n  three\n",
            "bad\nthree",
            (3, "bad"),
        ),
        ("v: one\n  two\n  bad end\n", "bad", (3, "bad")),
        ("v: \"one\n  two \\\n  bad end\"\n", "bad", (3, "bad")),
        ("v: 'one\n\n  two bad'\n", "bad", (3, "bad")),
        ("v:\n  # c\n  bad\n", "bad", (3, "bad")),
        ("v: |2\n   one\n  bad\n", "bad", (3, "bad")),
        ("v: |-  # comment\r\n  one\r\n  bad\r\n", "bad", (3, "bad")),
        ("v: |\n\n\n  one bad\n", "bad", (4, "bad")),
        ("v: &x a bad", "bad", (1, "&x a bad")),
        ("v: \"${HOST} bad\"", "bad", (1, "\"${HOST} bad\"")),
    ] {
        assert_eq!(
            underlined(text, needle),
            (expected.0, expected.1.to_owned()),
            "{text:?}"
        );
    }
}

#[test]
fn places_an_offset_behind_the_end_and_beyond_it() {
    let document = valid("v: 'a + '\nw: [x]");
    let place = |column, width| Place::File {
        line: 1,
        column,
        width,
    };
    assert_eq!(document.place_in(&[Key("v")], 3, 0), place(8, 1));
    assert_eq!(document.place_in(&[Key("v")], 4, 9), place(8, 1));
    assert_eq!(document.place_in(&[Key("v")], 99, 1), place(4, 6));
    assert_eq!(document.place_in(&[Key("missing")], 0, 1), place(1, 1));
    assert_eq!(
        document.place_in(&[Key("w")], 0, 1),
        Place::File {
            line: 2,
            column: 4,
            width: 1
        }
    );
}

#[test]
fn sets_and_adds_values() {
    let mut document = valid("source:\n  topics: [a]\n  start: latest\nwrite:\n");
    let mut problems = Problems::new("x.yaml", "");
    document.set("source.topics.0", "b", &mut problems);
    document.set("source.topics.1", "c", &mut problems);
    document.set("source.start", "{at: 5}", &mut problems);
    document.set(
        "write.remote_write.url",
        "http://127.0.0.1:9090/api",
        &mut problems,
    );
    document.set("state", "", &mut problems);
    assert_eq!(problems.to_string(), "");
    let text = |path: &[PathSegment<'_>]| document.get(path)?.as_scalar().map(|s| s.text.clone());
    assert_eq!(
        text(&[Key("source"), Key("topics"), Index(0)]).as_deref(),
        Some("b")
    );
    assert_eq!(
        text(&[Key("source"), Key("topics"), Index(1)]).as_deref(),
        Some("c")
    );
    assert_eq!(
        text(&[Key("source"), Key("start"), Key("at")]).as_deref(),
        Some("5")
    );
    assert_eq!(
        text(&[Key("write"), Key("remote_write"), Key("url")]).as_deref(),
        Some("http://127.0.0.1:9090/api")
    );
    assert!(
        document
            .get(&[Key("state")])
            .unwrap()
            .as_scalar()
            .unwrap()
            .is_null()
    );
    assert_eq!(
        document.place(&[Key("source"), Key("start")]),
        Place::Argument("--set source.start".into())
    );
}

#[test]
fn says_what_is_wrong_with_a_setting() {
    for (path, text, expected) in [
        (
            "a..b",
            "1",
            "--set a..b: 'a..b' is not a path; write keys with dots between, such as \
             write.remote_write.url",
        ),
        (
            "a.b.c",
            "1",
            "--set a.b.c: there is no 'c' in 'a.b', which is neither a mapping nor a list",
        ),
        (
            "a.l.2",
            "1",
            "--set a.l.2: there is no '2' in the list 'a.l'; write a number from 0, 1 appends",
        ),
        (
            "a.l.x",
            "1",
            "--set a.l.x: there is no 'x' in the list 'a.l'; write a number from 0, 1 appends",
        ),
        (
            "a.b",
            "{x: [}",
            "--set a.b: invalid YAML: while parsing a node, did not find expected node content",
        ),
        ("a.b", "{x: 1, x: 2}", "--set a.b: key 'x' is given twice"),
        (
            "a.b",
            "x\0",
            "--set a.b: the control character U+0000 is not YAML",
        ),
    ] {
        let mut document = valid("a: {b: 1, l: [x]}");
        let mut problems = Problems::new("x.yaml", "");
        document.set(path, text, &mut problems);
        assert_eq!(problems.to_string(), expected, "{path}={text}");
    }
}

#[test]
fn replaces_and_removes_whole_mappings() {
    let mut document = valid("source: {kafka: {a: 1}}\nstate: {dir: x}\n");
    let mut problems = Problems::new("x.yaml", "");
    let node = Node::from_argument(
        "--replay e.ndjson",
        "{file: {path: e.ndjson}}",
        &mut problems,
    );
    assert_eq!(document.replace(&[Key("source")], node.unwrap()), Ok(()));
    assert_eq!(document.remove(&[Key("state"), Key("nothing")]), None);
    assert_eq!(document.remove(&[Key("state")]).unwrap().entries().len(), 1);
    let at = "@--replay e.ndjson";
    assert_eq!(
        outline(document.root()),
        format!("{{source@1:1+6={{file{at}={{path{at}=\"e.ndjson\"{at}}}{at}}}{at}}}@1:1+1")
    );
}

#[test]
fn reads_a_file_and_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.yaml");
    std::fs::write(&path, "a: ü\n").unwrap();
    assert_eq!(read(&path).unwrap(), "a: ü\n");
    std::fs::write(&path, b"a: 1\nb: \xc3\xbc \xff\n").unwrap();
    assert_eq!(
        read(&path).unwrap_err().to_string(),
        format!(
            "{}:2:6: invalid UTF-8; save the file as UTF-8",
            path.display()
        )
    );
    std::fs::write(&path, "#".repeat(MAX_FILE_BYTES + 1)).unwrap();
    assert_eq!(
        read(&path).unwrap_err().to_string(),
        format!(
            "{}: longer than 1048576 bytes, which no pipeline file is",
            path.display()
        )
    );
    let missing = folder.path().join("missing.yaml");
    assert!(matches!(
        read(&missing).unwrap_err(),
        ReadError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound
    ));
}

/// Looks everything up, so that no place is beyond what can be printed.
fn exercise(text: &str) {
    let (document, _) = parse(text);
    let mut problems = Problems::new("x.yaml", text);
    if let Some(document) = document {
        visit(document.root(), &document, &mut problems);
    }
    assert_eq!(format!("{problems}").lines().count(), problems.len());
    assert!(format!("{problems:#}").len() >= problems.to_string().len());
}

fn visit(node: &Node, document: &Document, problems: &mut Problems) {
    problems.add(node.place.clone(), "here");
    match &node.kind {
        Kind::Mapping(entries) => {
            entries
                .iter()
                .for_each(|entry| visit(&entry.value, document, problems));
        }
        Kind::Sequence(items) => items
            .iter()
            .for_each(|item| visit(item, document, problems)),
        Kind::Scalar(scalar) => {
            for offset in 0..=scalar.text.len() + 1 {
                let place = locate::locate(&document.lines, scalar, &node.place, offset, 2);
                problems.add(place, "within");
            }
        }
        Kind::Unresolved => {}
    }
}

proptest! {
    #[test]
    fn never_panics_on_arbitrary_text(text in "\\PC*") {
        exercise(&text);
    }

    #[test]
    fn never_panics_on_arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        exercise(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn never_panics_on_what_looks_like_yaml(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "a", "b: ", "- ", "? ", ": ", "{", "}", "[", "]", ", ", "\n", "\r\n", "\r", "  ",
                "\t", "'", "\"", "\\", "|", ">", "-", "+", "2", "&x ", "*x", "!t ", "!!str ", "#",
                " #", "---\n", "...\n", "%TAG ", "%YAML 1.2\n", "${HOST}", "${A}", "$$", "ü", "日",
                "\u{feff}", "\u{85}", "\u{2028}", "<<: ", "~", "@", "`",
            ]),
            0..40,
        )
    ) {
        exercise(&parts.concat());
    }

    #[test]
    fn never_panics_on_arbitrary_settings(path in "[a-c.0-2]{0,8}", text in "[a-c{}\\[\\]:, \n&*'\"-]{0,20}") {
        let mut document = valid("a: {b: 1, c: [x]}\nb:\n");
        let mut problems = Problems::new("x.yaml", "");
        document.set(&path, &text, &mut problems);
    }
}
