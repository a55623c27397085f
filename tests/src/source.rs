//! The source tree as text, for the tests that keep its order: files, the code in them without comments and literals,
//! and the paths that code names.

use std::{
    fs, iter,
    path::{Path, PathBuf},
};

/// One file of the tree.
#[derive(Debug)]
pub struct Source {
    /// From the root of the workspace, with slashes.
    pub path: String,
    /// Everything that stands in it.
    pub text: String,
    /// The same, line by line, with comments and literals blanked out. Empty for what is not Rust.
    pub code: String,
}

/// Directories that hold what was made, not what was written.
const MADE: &[&str] = &["target", ".git", "corpus", "artifacts", "node_modules", "__pycache__"];

impl Source {
    /// A file that stands nowhere, for tests of the tests.
    pub fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { blank(text) } else { String::new() };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    /// The code above the tests at the foot of the file.
    pub fn code_before_tests(&self) -> &str {
        let foot = self.code.find("\n#[cfg(test)]\nmod ").map_or(self.code.len(), |at| at + 1);
        &self.code[..foot]
    }

    /// Whether it lies in this directory of the tree, or is this file.
    pub fn is_in(&self, place: &str) -> bool {
        let rest = self.path.strip_prefix(place);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || place.ends_with('/'))
    }

    /// Lines of code, each with its number, from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    member.parent().unwrap_or(member).to_owned()
}

/// Every text file of the tree, in order.
pub fn tree() -> Vec<Source> {
    let root = root();
    let (mut files, mut directories) = (Vec::new(), vec![root.clone()]);
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        for entry in entries.flatten() {
            let (path, kind) = (entry.path(), entry.file_type().expect("a kind of file"));
            if kind.is_dir() && !MADE.iter().any(|made| entry.file_name() == **made) {
                directories.push(path);
            } else if kind.is_file()
                && entry.file_name() != ".git"
                && let Ok(text) = fs::read_to_string(&path)
            {
                let path = path.strip_prefix(&root).expect("below the root").to_string_lossy().replace('\\', "/");
                files.push(Source::new(&path, &text));
            }
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}

/// Rust with comments and literals blanked out. Every line keeps its number and its columns, counted in characters.
pub fn blank(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < characters.len() {
        let end = literal(&characters, at);
        if end == at {
            code.push(characters[at]);
            at += 1;
        } else {
            code.extend(characters[at..end].iter().map(|character| if *character == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Where the comment or literal that begins here ends; `at` itself if none begins here.
fn literal(text: &[char], at: usize) -> usize {
    let starts =
        |pattern: &str| pattern.chars().enumerate().all(|(index, wanted)| text.get(at + index) == Some(&wanted));
    let is_inside_word = at > 0 && is_word(text[at - 1]);
    match text[at] {
        '/' if starts("//") => (at..text.len()).find(|end| text[*end] == '\n').unwrap_or(text.len()),
        '/' if starts("/*") => block_comment(text, at),
        '"' => string(text, at + 1),
        'b' | 'c' if !is_inside_word && text.get(at + 1) == Some(&'"') => string(text, at + 2),
        'b' | 'c' if !is_inside_word && text.get(at + 1) == Some(&'r') => raw_string(text, at, at + 2),
        'r' if !is_inside_word => raw_string(text, at, at + 1),
        '\'' => character(text, at),
        _ => at,
    }
}

fn block_comment(text: &[char], at: usize) -> usize {
    let (mut depth, mut end) = (0usize, at);
    while end < text.len() {
        match (text[end], text.get(end + 1)) {
            ('/', Some('*')) => (depth, end) = (depth + 1, end + 2),
            ('*', Some('/')) => (depth, end) = (depth - 1, end + 2),
            _ => end += 1,
        }
        if depth == 0 {
            return end;
        }
    }
    text.len()
}

fn string(text: &[char], mut at: usize) -> usize {
    while at < text.len() && text[at] != '"' {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

/// `hashes` is where the hashes or the quote would stand. Not a raw string, but a name: it ends where it begins.
fn raw_string(text: &[char], at: usize, hashes: usize) -> usize {
    let count = text[hashes.min(text.len())..].iter().take_while(|character| **character == '#').count();
    if text.get(hashes + count) != Some(&'"') {
        return at;
    }
    let closing: Vec<char> = iter::once('"').chain(iter::repeat_n('#', count)).collect();
    let from = hashes + count + 1;
    let found = text[from..].windows(closing.len()).position(|window| window == closing);
    found.map_or(text.len(), |position| from + position + closing.len())
}

/// A character literal, or nothing where the quote begins a lifetime.
fn character(text: &[char], at: usize) -> usize {
    match (text.get(at + 1), text.get(at + 2)) {
        (Some('\\'), _) => {
            let from = (at + 3).min(text.len());
            text[from..].iter().position(|character| *character == '\'').map_or(text.len(), |end| from + end + 1)
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Every path below `root` that the code names, `use` trees taken apart: `crate::{a::{B, c}, d}` names `a::B`, `a::c`
/// and `d`. Each with the number of its line.
pub fn paths_below(code: &str, root: &str) -> Vec<(usize, String)> {
    let start = format!("{root}::");
    let mut found = Vec::new();
    for (at, _) in code.match_indices(&start) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|character| is_word(character) || character == ':' || character == '$') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let mut paths = Vec::new();
        branch(&code[at + start.len()..], "", &mut paths);
        found.extend(paths.into_iter().map(|path| (line, path)));
    }
    found
}

/// Reads one branch of a `use` tree and gives what stands behind it.
fn branch<'a>(text: &'a str, above: &str, paths: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start();
            if let Some(behind) = rest.strip_prefix('}') {
                return behind;
            }
            rest = branch(rest, above, paths);
            // `as name`, and the comma.
            let Some(end) = rest.find([',', '}']) else { return "" };
            rest = if rest[end..].starts_with(',') { &rest[end + 1..] } else { &rest[end..] };
        }
    }
    let end = text.find(|character| !is_word(character)).unwrap_or(text.len());
    let (name, rest) = if end == 0 { text.split_at(text.len().min(1)) } else { text.split_at(end) };
    let path = if above.is_empty() { name.to_owned() } else { format!("{above}::{name}") };
    match rest.strip_prefix("::") {
        // `Vec::<u8>` names no further path.
        Some(below) if !below.starts_with('<') => branch(below, &path, paths),
        _ => {
            paths.push(path);
            rest
        }
    }
}

/// The words of a line of code: names and keywords.
pub fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|character| !is_word(character)).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{Source, blank, paths_below};

    #[test]
    fn comments_and_literals_are_blank_and_lines_stay() {
        let text =
            "let a = \"x // \\\" y\"; // unsafe\n/* a /* b */ c */ let b = r#\"un\"safe\"#;\nlet c: &'a u8 = b'\\'';";
        let code = blank(text);
        let squeezed: Vec<String> =
            code.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(squeezed, ["let a = ;", "let b = ;", "let c: &'a u8 = b ;"]);
        assert_eq!(code.chars().count(), text.chars().count());
    }

    #[test]
    fn trees_are_taken_apart() {
        let code =
            "use crate::{\n    a::{B, c::D as E, self},\n    f,\n};\nlet x = crate::g::h(1); $crate::i; my_crate::j;";
        let names: Vec<(usize, String)> = paths_below(code, "crate");
        let expected = [(1, "a::B"), (1, "a::c::D"), (1, "a::self"), (1, "f"), (5, "g::h")];
        assert_eq!(names, expected.map(|(line, path)| (line, path.to_owned())));
    }

    #[test]
    fn places_are_whole_names() {
        let source = Source::new("runtime/src/task/mod.rs", "");
        assert!(
            source.is_in("runtime/src/task") && source.is_in("runtime/") && source.is_in("runtime/src/task/mod.rs")
        );
        assert!(!source.is_in("runtime/src/tas"));
    }
}
