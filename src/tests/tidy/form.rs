//! What a file looks like: its width, its length, its opening, the words in it; and what lies at
//! the top of the repository.
//!
//! Not here: who may know what (`walls.rs`). Form that rustfmt or clippy can hold is theirs.

use crate::source::{Source, holds_word};
use crate::walls::dependencies;
use crate::{Offence, Tree, is_apart};

const COLUMNS_MAX: usize = 100;
const LINES_MAX: usize = 500;

/// What may lie at the top, besides names that begin with a dot.
const TOP_LEVEL: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "examples",
    "loadgen",
    "results",
    "scripts",
    "src",
    "target",
];

/// Words that say that something is not finished. In two halves, so that this file is not one.
const UNFINISHED: &[&str] = &[
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("X", "XX"),
    concat!("#[ig", "nore"),
];

/// Lines fit beside each other on a screen.
pub(crate) fn lines_are_narrow(tree: &Tree) -> Vec<Offence> {
    each_line(tree.rust(), |line| {
        let columns = line.chars().count();
        (columns > COLUMNS_MAX).then(|| format!("{columns} columns"))
    })
    .map(|found| found.cure("break the line at 100 columns"))
    .collect()
}

/// A file is one sitting.
pub(crate) fn files_are_short(tree: &Tree) -> Vec<Offence> {
    tree.rust()
        .filter(|source| source.text.lines().count() > LINES_MAX)
        .map(|source| {
            let lines = source.text.lines().count();
            let what = format!("{lines} lines");
            Offence::new(&source.path, lines, &what, "is there a room in it that wants a door?")
        })
        .collect()
}

/// A file says first what it is.
pub(crate) fn files_say_what_they_are(tree: &Tree) -> Vec<Offence> {
    tree.rust()
        .filter(|source| {
            let opening = source.text.lines().find(|line| {
                let line = line.trim();
                !(line.is_empty() || line.starts_with("#!"))
            });
            !opening.is_some_and(|line| line.starts_with("//!"))
        })
        .map(|source| {
            let cure = "open it with //!: what it is, what it is not, its invariant";
            Offence::new(&source.path, 1, "does not say what it is", cure)
        })
        .collect()
}

/// Sources are plain ASCII: what cannot be seen cannot be reviewed. Samples in the strings of
/// tests are free.
pub(crate) fn sources_are_ascii(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for source in tree.sources.iter() {
        let shipped = if source.is_rust() { source.product_length() } else { usize::MAX };
        let lines = source.lines().zip(source.code_lines());
        for ((number, text), (_, code)) in lines {
            let checked = if number <= shipped { text } else { code };
            if let Some(found) = checked.chars().find(|c| !c.is_ascii()) {
                let what = found.escape_unicode().to_string();
                let cure = "write it as an escape";
                offences.push(Offence::new(&source.path, number, &what, cure));
            }
        }
    }
    offences
}

/// Names say what a thing is in the field's terms.
pub(crate) fn names_mean_something(tree: &Tree) -> Vec<Offence> {
    let cure = "name it for what it is or does in the field's own words";
    let mut offences = Vec::new();
    for source in tree.rust() {
        let stem = source.path.rsplit('/').next().unwrap_or("").trim_end_matches(".rs");
        if is_empty_name(stem) {
            offences.push(Offence::new(&source.path, 1, "an empty file name", cure));
        }
        for (number, line) in source.code_lines() {
            for name in defined_names(line).filter(|name| is_empty_name(name)) {
                let what = format!("defines `{name}`");
                offences.push(Offence::new(&source.path, number, &what, cure));
            }
        }
    }
    offences
}

/// What is named is finished, and no test is switched off.
pub(crate) fn nothing_is_unfinished(tree: &Tree) -> Vec<Offence> {
    each_line(tree.sources.iter().filter(|source| !source.path.ends_with(".md")), |line| {
        let word = UNFINISHED.iter().find(|word| holds_word(line, word))?;
        Some(format!("says `{word}`"))
    })
    .map(|found| found.cure("finish it, or leave it out and say so in the README"))
    .collect()
}

/// A lint that is switched off says why.
pub(crate) fn relaxations_have_reasons(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for source in tree.rust() {
        let lines: Vec<&str> = source.code.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let opens = ["#[allow(", "#![allow(", "#[expect(", "#![expect("]
                .iter()
                .any(|attribute| line.trim_start().starts_with(attribute));
            let attribute = lines[index..].iter().take_while(|line| !line.trim().is_empty());
            let end = attribute.clone().position(|line| line.contains(")]")).unwrap_or(0);
            if opens && !attribute.take(end + 1).any(|line| holds_word(line, "reason")) {
                let cure = "write #[expect(lint, reason = \"..\")]";
                offences.push(Offence::new(&source.path, index + 1, "no reason", cure));
            }
        }
    }
    offences
}

/// Every file is part of a program: a module nobody names is not even compiled.
pub(crate) fn files_are_used(tree: &Tree) -> Vec<Offence> {
    let is_root = |path: &str| {
        let parts: Vec<&str> = path.split('/').collect();
        let named = tree.sources.iter().filter(|source| source.is_manifest());
        matches!(parts.last(), Some(&("lib.rs" | "main.rs")))
            || parts.len() == 2 && matches!(parts[0], "examples" | "benches")
            || parts.len() == 3 && parts[..2] == ["loadgen", "tests"]
            || path.contains("/bin/")
            || path.starts_with("src/ring/examples/")
            || path.contains("/protocol/tests/") && parts.len() == 4
            || path.contains("/transport/tests/") && parts.len() == 4
            || path.contains("/ring/tests/") && parts.len() == 4
            || named.into_iter().any(|manifest| names(manifest, path))
    };
    let named: Vec<String> = tree.rust().flat_map(named_files).collect();
    let is_named = |path: &str| {
        let path =
            path.strip_suffix("/mod.rs").or_else(|| path.strip_suffix(".rs")).unwrap_or(path);
        named.iter().any(|name| path.rsplit('/').next() == Some(name))
    };
    tree.rust()
        .filter(|source| !is_root(&source.path) && !is_named(&source.path))
        .map(|source| {
            Offence::new(&source.path, 1, "no `mod` names it", "name it, or remove the file")
        })
        .collect()
}

/// Whether a manifest names the file, from where the manifest lies.
fn names(manifest: &Source, path: &str) -> bool {
    let folder = manifest.path.trim_end_matches("Cargo.toml");
    path.strip_prefix(folder).is_some_and(|path| manifest.text.contains(&format!("\"{path}\"")))
}

/// The stems of the files that `source` makes modules of.
fn named_files(source: &Source) -> Vec<String> {
    let modules = source.code_lines().filter_map(|(_, line)| {
        let (before, name) = line.trim().strip_suffix(';')?.rsplit_once("mod ")?;
        (before.is_empty() || before.starts_with("pub")).then(|| name.to_owned())
    });
    let paths = source.lines().filter_map(|(_, line)| {
        let path = line.trim().strip_prefix("#[path = \"")?.strip_suffix(".rs\"]")?;
        path.rsplit('/').next().map(str::to_owned)
    });
    modules.chain(paths).collect()
}

/// The top level holds what the architecture names and nothing else.
pub(crate) fn top_level_is_named(tree: &Tree) -> Vec<Offence> {
    tree.top
        .iter()
        .filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str()))
        .map(|name| Offence::new(name, 1, "lies at the top", "move it to a room, or dot its name"))
        .collect()
}

/// The README says of every dependency what it is for.
pub(crate) fn dependencies_are_explained(tree: &Tree) -> Vec<Offence> {
    let own = ["ringwire", "ringwire-protocol", "ringwire-transport", "ringwire-ring", "loadgen"];
    let mut offences = Vec::new();
    for manifest in tree.sources.iter().filter(|source| source.is_manifest()) {
        for (line, name) in dependencies(manifest) {
            let row = format!("| `{name}` |");
            if !own.contains(&name.as_str()) && !tree.readme.contains(&row) {
                let what = format!("`{name}` has no row in the README's table of dependencies");
                let cure = "say there in one line what it is for, or do without";
                offences.push(Offence::new(&manifest.path, line, &what, cure));
            }
        }
    }
    offences
}

/// The README names every flag of both programs.
pub(crate) fn flags_are_explained(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for source in tree.rust().filter(|source| !source.is_test()) {
        let mut is_flag = false;
        for (number, line) in source.code_lines().map(|(number, line)| (number, line.trim())) {
            is_flag |= line.starts_with("#[arg(") && holds_word(line, "long");
            let field = line.strip_prefix("pub").and_then(|line| line.split(':').next());
            let Some(name) = field.and_then(|field| field.rsplit(' ').next()) else { continue };
            let flag = format!("--{}", name.replace('_', "-"));
            if is_flag && !holds_flag(&tree.readme, &flag) {
                let what = format!("the README does not name `{flag}`");
                let cure = "give it a row in the table of flags";
                offences.push(Offence::new(&source.path, number, &what, cure));
            }
            is_flag = false;
        }
    }
    offences
}

/// Whether `text` names `flag` and not only a longer one.
fn holds_flag(text: &str, flag: &str) -> bool {
    text.match_indices(flag).any(|(at, _)| {
        let next = text[at + flag.len()..].chars().next();
        !next.is_some_and(|c| c.is_alphanumeric() || c == '-')
    })
}

/// Every package of the workspace takes the workspace's lints.
pub(crate) fn lints_are_inherited(tree: &Tree) -> Vec<Offence> {
    tree.sources
        .iter()
        .filter(|source| source.is_manifest() && !source.text.contains("[lints]\nworkspace = true"))
        .filter(|source| !is_apart(&source.path))
        .map(|source| {
            Offence::new(&source.path, 1, "has lints of its own", "add [lints] workspace = true")
        })
        .collect()
}

/// Identifiers that a line of code defines.
fn defined_names(line: &str) -> impl Iterator<Item = &str> {
    let keywords = ["fn", "struct", "enum", "trait", "type", "mod", "const", "static", "union"];
    let words: Vec<&str> = line
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .collect();
    let pairs: Vec<(&str, &str)> = words.windows(2).map(|pair| (pair[0], pair[1])).collect();
    pairs.into_iter().filter(move |(keyword, _)| keywords.contains(keyword)).map(|(_, name)| name)
}

fn is_empty_name(name: &str) -> bool {
    let hollow = ["util", "utils", "helper", "helpers", "manager", "misc"];
    name.starts_with("get_")
        || name.contains("Manager")
        || name.contains("Helper")
        || name.split('_').any(|part| hollow.contains(&part))
}

/// A finding that still wants its cure.
struct Found {
    path: String,
    line: usize,
    what: String,
}

impl Found {
    fn cure(self, cure: &'static str) -> Offence {
        Offence::new(&self.path, self.line, &self.what, cure)
    }
}

fn each_line<'s, W: ToString>(
    sources: impl Iterator<Item = &'s Source>,
    check: impl Fn(&str) -> Option<W> + Copy,
) -> impl Iterator<Item = Found> {
    sources.flat_map(move |source| {
        source.lines().filter_map(move |(line, text)| {
            let what = check(text)?.to_string();
            Some(Found { path: source.path.clone(), line, what })
        })
    })
}

#[cfg(test)]
#[path = "form_tests.rs"]
mod tests;
