//! The house rules that neither the compiler nor clippy holds, read off the tree itself.
//!
//! Not here: anything about behaviour. Each rule is a named function from the tree to its
//! offences, each offence says file, line and cure, and each rule has a test that it catches a
//! bad sample.

#[path = "tidy/form.rs"]
mod form;
#[path = "tidy/rfc.rs"]
mod rfc;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/walls.rs"]
mod walls;

use std::fmt;
use std::fs;
use std::path::Path;

use source::{Source, read_tree};

/// A place that breaks a rule, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Offence {
    path: String,
    line: usize,
    what: String,
    cure: &'static str,
}

impl Offence {
    pub(crate) fn new(path: &str, line: usize, what: &str, cure: &'static str) -> Self {
        Self { path: path.to_owned(), line, what: what.to_owned(), cure }
    }
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, what, cure } = self;
        write!(f, "{path}:{line}: {what}; {cure}")
    }
}

/// Packages that are workspaces of their own, so that their dependencies stay out of this one.
const APART: &[&str] =
    &["benches/peers/", "src/fuzz/", "src/protocol/differential/", "src/protocol/fuzz/"];

/// Whether a file belongs to another workspace.
pub(crate) fn is_apart(path: &str) -> bool {
    APART.iter().any(|package| path.starts_with(package))
}

/// The repository as far as the rules look at it.
pub(crate) struct Tree {
    sources: Vec<Source>,
    top: Vec<String>,
    readme: String,
}

impl Tree {
    /// Everything, from the disk.
    fn read(root: &Path) -> Self {
        let is_source = |name: &str| {
            let is_list = name.starts_with("rfc") && name.ends_with(".txt");
            is_list || [".rs", ".sh", "Cargo.toml"].iter().any(|ending| name.ends_with(ending))
        };
        let mut sources = Vec::new();
        for folder in ["src", "loadgen", "benches", "examples", "scripts"] {
            read_tree(root, folder, is_source, &mut sources);
        }
        for file in ["Cargo.toml", ".ci/run"] {
            let text =
                fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
            sources.push(Source::new(file, &text));
        }
        let top = fs::read_dir(root)
            .expect("the manifest's directory can be listed")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        let readme = fs::read_to_string(root.join("README.md")).expect("there is a README.md");
        Self { sources, top, readme }
    }

    /// One file and nothing else: a sample.
    pub(crate) fn of(path: &str, text: &str) -> Self {
        let sources = vec![Source::new(path, text)];
        Self { sources, top: Vec::new(), readme: String::new() }
    }

    /// Every Rust file, those of other workspaces too.
    pub(crate) fn rust(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(|source| source.is_rust())
    }

    /// Every Rust file of this workspace.
    pub(crate) fn product_tree(&self) -> impl Iterator<Item = &Source> {
        self.rust().filter(|source| !is_apart(&source.path))
    }
}

type Rule = fn(&Tree) -> Vec<Offence>;

const RULES: &[(&str, Rule)] = &[
    ("lines are narrow", form::lines_are_narrow),
    ("files are short", form::files_are_short),
    ("files say what they are", form::files_say_what_they_are),
    ("files are used", form::files_are_used),
    ("sources are ASCII", form::sources_are_ascii),
    ("names mean something", form::names_mean_something),
    ("nothing is unfinished", form::nothing_is_unfinished),
    ("relaxations have reasons", form::relaxations_have_reasons),
    ("the top level is named", form::top_level_is_named),
    ("dependencies are explained", form::dependencies_are_explained),
    ("flags are explained", form::flags_are_explained),
    ("lints are inherited", form::lints_are_inherited),
    ("every MUST is quoted", rfc::musts_are_quoted),
    ("unsafe stays in the ring", walls::unsafe_in_the_ring),
    ("descriptors stay in the ring", walls::descriptors_in_the_ring),
    ("clocks stay in the ring", walls::clocks_in_the_ring),
    ("entropy stays in the ring", walls::entropy_in_the_ring),
    ("nothing sleeps", walls::nothing_sleeps),
    ("rooms keep their walls", walls::rooms_keep_their_walls),
    ("rooms are silent", walls::rooms_are_silent),
    ("packages stay apart", walls::packages_stay_apart),
];

/// For the tests of the rules: `rule` finds something in this file, at this line.
#[cfg(test)]
pub(crate) fn assert_catches(rule: Rule, path: &str, text: &str, line: usize) {
    let offences = rule(&Tree::of(path, text));
    let caught = offences.iter().any(|offence| offence.path == path && offence.line == line);
    assert!(caught, "{path}:{line} was to be caught, found {offences:?}");
}

/// For the tests of the rules: `rule` finds nothing in this file.
#[cfg(test)]
pub(crate) fn assert_passes(rule: Rule, path: &str, text: &str) {
    let offences = rule(&Tree::of(path, text));
    assert!(offences.iter().all(|offence| offence.path != path), "{offences:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let tree = Tree::read(Path::new(env!("CARGO_MANIFEST_DIR")));
        assert!(tree.rust().count() > 20, "the tree was not found");
        let mut report = String::new();
        for (name, rule) in RULES {
            for offence in rule(&tree) {
                report.push_str(&format!("  {name}: {offence}\n"));
            }
        }
        assert!(report.is_empty(), "the tree is not tidy:\n{report}");
    }

    #[test]
    fn an_offence_says_where_and_what_to_do() {
        let offence = Offence::new("src/a.rs", 7, "names `unsafe`", "do without");
        assert_eq!(offence.to_string(), "src/a.rs:7: names `unsafe`; do without");
    }
}
