//! The tables that say which test shows which demand of a standard name tests that are there.

use ringgate_tests::source::root;
use std::fs;

/// Where they are, and how many names each has at the least: a table that is read wrongly would have none.
const TABLES: [(&str, usize); 2] =
    [("protocols/tests/http2_musts.md", 100), ("protocols/tests/websocket_musts.md", 60)];

/// The tests in a source file.
fn tests_in(text: &str) -> Vec<&str> {
    let behind = text.split("#[test]").skip(1);
    behind.filter_map(|text| text.split_once("fn ")?.1.split('(').next()).collect()
}

/// What a row names that is not there.
fn complaints(table: &str, read: impl Fn(&str) -> Option<String>) -> (usize, Vec<String>) {
    let (mut named, mut complaints) = (0, Vec::new());
    for row in table.lines().filter(|row| row.starts_with("| ") && row.contains('`')) {
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        let mut file = String::new();
        // What is not quoted is a word on it, or names a suite of somebody else's.
        for name in cell.split(", ").filter(|name| name.starts_with('`')) {
            if let Some((script, _)) = name[1..].split_once('`').filter(|(name, _)| name.starts_with("tests/clients/"))
            {
                named += 1;
                complaints.extend(read(script).is_none().then(|| format!("there is no file {script}")));
                continue;
            }
            let (name, place) = name.split_once("` [").map_or((name, None), |(name, place)| (name, Some(place)));
            let name = name.trim_matches('`');
            let (path, test) = match (place, name.split_once("::")) {
                (Some(place), _) => (format!("protocols/src/{}.rs", place.trim_end_matches(']')), name),
                (None, Some((stem, test))) => {
                    file = path_of(stem);
                    (file.clone(), test)
                }
                (None, None) if name.ends_with('…') => (file.clone(), name),
                (None, None) => (path_of(name), "…"),
            };
            named += 1;
            let Some(text) = read(&path) else {
                complaints.push(format!("{name}: there is no file {path}"));
                continue;
            };
            let tests = tests_in(&text);
            let is_there = match test.split_once('…') {
                Some((beginning, _)) => tests.iter().any(|known| known.starts_with(beginning)),
                None => tests.contains(&test),
            };
            if !is_there {
                complaints.push(format!("{path} has no test {test}"));
            }
        }
    }
    (named, complaints)
}

fn path_of(stem: &str) -> String {
    match stem.strip_prefix("tests/") {
        Some(stem) => format!("tests/tests/{stem}.rs"),
        None => format!("protocols/tests/{stem}.rs"),
    }
}

#[test]
fn every_test_that_a_table_names_is_there() {
    for (path, least) in TABLES {
        let table = fs::read_to_string(root().join(path)).unwrap();
        let (named, complaints) = complaints(&table, |path| fs::read_to_string(root().join(path)).ok());
        assert!(named >= least, "{path} names {named} tests");
        assert!(complaints.is_empty(), "{path}:\n{}", complaints.join("\n"));
    }
}

#[test]
fn a_name_that_is_not_there_is_found() {
    let read = |path: &str| (path == "protocols/tests/a.rs").then(|| "#[test]\nfn one_two() {}".to_owned());
    let missing = |cell: &str| complaints(&format!("| 1 | all | {cell} |"), read).1.len();
    assert_eq!(missing("`a`, `a::one_…`, `one_two…`, `a::one_two`, Autobahn 1, 2"), 0);
    assert_eq!([missing("`b`"), missing("`a::two_…`"), missing("`a::one`"), missing("`one_…` [a]")], [1; 4]);
    assert_eq!(missing("Autobahn 1, `tests/clients/none.py`: nothing"), 1);
}
