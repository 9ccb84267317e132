//! The tree as the rules see it: files with their lines, code told apart from comments and
//! strings, tests told apart from the product.
//!
//! Not here: any rule. Invariant: every view of a file keeps its line numbers.

use std::fs;
use std::path::Path;

/// One text file of the tree.
pub(crate) struct Source {
    /// From the top of the repository, with `/` between the parts.
    pub(crate) path: String,
    /// As it stands.
    pub(crate) text: String,
    /// With the content of comments, strings and characters blanked out.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { blank_prose(text) } else { text.to_owned() };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub(crate) fn is_manifest(&self) -> bool {
        self.path == "Cargo.toml" || self.path.ends_with("/Cargo.toml")
    }

    /// Whether the whole file is a test.
    pub(crate) fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    /// Numbered lines of the text.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Numbered lines of the code.
    pub(crate) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Numbered lines of the code that ships: up to `#[cfg(test)] mod`, which ends a file here.
    pub(crate) fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code_lines().take(self.product_length())
    }

    /// How many lines from the top ship; none of a test's.
    pub(crate) fn product_length(&self) -> usize {
        if self.is_test() {
            return 0;
        }
        let lines: Vec<&str> = self.code.lines().collect();
        let opens_tests = |pair: &[&str]| {
            pair[0].trim().starts_with("#[cfg(test)]")
                && pair[1].starts_with("mod ")
                && pair[1].trim_end().ends_with('{')
        };
        lines.windows(2).position(opens_tests).unwrap_or(lines.len())
    }
}

/// Reads every file below `folder` of the repository whose name `wanted` accepts.
pub(crate) fn read_tree(
    root: &Path,
    folder: &str,
    wanted: fn(&str) -> bool,
    out: &mut Vec<Source>,
) {
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name != "target" && !name.starts_with('.'))
        .collect();
    names.sort();
    for name in names {
        let path = format!("{folder}/{name}");
        let full = root.join(&path);
        if full.is_dir() {
            read_tree(root, &path, wanted, out);
        } else if wanted(&name) {
            let text = fs::read_to_string(&full).unwrap_or_else(|e| panic!("{path}: {e}"));
            out.push(Source::new(&path, &text));
        }
    }
}

/// Whether `line` holds `word` with no identifier character on either side.
pub(crate) fn holds_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let opens_free = !word.starts_with(is_part) || !before.is_some_and(is_part);
        let ends_free = !word.ends_with(is_part) || !after.is_some_and(is_part);
        opens_free && ends_free
    })
}

/// Rust text with comments and the insides of strings and characters turned to spaces.
fn blank_prose(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let (kept, length) = match token_of(rest, code.last().copied()) {
            Some(blanked) => (0, blanked),
            None => (1, rest.chars().next().map_or(1, char::len_utf8)),
        };
        for &byte in &bytes[at..at + length] {
            code.push(if kept == 1 || byte == b'\n' { byte } else { b' ' });
        }
        at += length;
    }
    String::from_utf8(code).expect("whole characters are kept or blanked")
}

/// The length of the comment, string or character that `rest` opens with, if it does.
fn token_of(rest: &str, before: Option<u8>) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment_length(rest));
    }
    if rest.starts_with('"') {
        return Some(quoted_length(rest, '"'));
    }
    if rest.starts_with('\'') {
        return character_length(rest);
    }
    let in_word = before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    let raw = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    if in_word || !raw[hashes..].starts_with('"') {
        return None;
    }
    let open = rest.len() - raw.len() + hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len()))
}

fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn quoted_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// A character literal; `None` for a lifetime or a label.
fn character_length(rest: &str) -> Option<usize> {
    let mut inside = rest.chars().skip(1);
    let first = inside.next()?;
    (first == '\\' || inside.next() == Some('\'')).then(|| quoted_length(rest, '\''))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_blanked_and_code_stays() {
        let text = "let a = \"unsafe \\\" //\"; // unsafe\n\
                    let b = 'x'; fn c<'a>() {} /* u /* v */ w\n\
                    */ let d = r#\"unsafe \" x\"#; let e = '\\''; let f = br\"q\"; unsafe { }\n";
        let code = Source::new("a.rs", text).code;
        assert_eq!(code.matches("unsafe").count(), 1);
        assert_eq!(code.lines().count(), 3);
        for kept in ["let a =", "let b =", "fn c<'a>() {}", "let d =", "let e =", "let f ="] {
            assert!(code.contains(kept), "{kept} in {code}");
        }
        for blanked in ["'x'", "w\n", "q\""] {
            assert!(!code.contains(blanked), "{blanked} in {code}");
        }
    }

    #[test]
    fn tests_are_not_product() {
        let source =
            Source::new("src/a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\nfn b() {}\n}\n");
        assert_eq!(source.product_lines().map(|(n, _)| n).collect::<Vec<_>>(), [1]);
        let item = Source::new("src/a.rs", "#[cfg(test)]\nfn a() {}\nfn b() {}\n");
        assert_eq!(item.product_lines().count(), 3);
        assert_eq!(Source::new("src/tests/a.rs", "fn a() {}\n").product_lines().count(), 0);
    }

    #[test]
    fn words_end_where_identifiers_do() {
        assert!(holds_word("an unsafe {", "unsafe"));
        assert!(!holds_word("forbid(unsafe_code)", "unsafe"));
        assert!(holds_word("std::net::TcpStream", "std::net"));
        assert!(holds_word("libc::kill(1)", "libc::"));
        assert!(!holds_word("mylibc::kill(1)", "libc::"));
    }
}
