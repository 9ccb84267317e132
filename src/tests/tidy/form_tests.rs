//! Each rule of `form.rs` catches a bad sample and lets a good one pass.

use super::*;
use crate::{assert_catches, assert_passes};

#[test]
fn a_wide_line_is_caught() {
    let wide = format!("//! A.\n//{}\n", "x".repeat(99));
    assert_catches(lines_are_narrow, "src/a.rs", &wide, 2);
    let full = format!("//{}\n", "x".repeat(98));
    assert_passes(lines_are_narrow, "src/a.rs", &full);
}

#[test]
fn a_long_file_is_caught() {
    assert_catches(files_are_short, "src/a.rs", &"//!\n".repeat(501), 501);
    assert_passes(files_are_short, "src/a.rs", &"//!\n".repeat(500));
}

#[test]
fn a_file_that_does_not_say_what_it_is_is_caught() {
    assert_catches(files_say_what_they_are, "src/a.rs", "use std::fmt;\n//! Late.\n", 1);
    assert_catches(files_say_what_they_are, "src/a.rs", "", 1);
    assert_passes(files_say_what_they_are, "src/a.rs", "#![forbid(unsafe_code)]\n\n//! A.\n");
}

#[test]
fn a_character_beyond_ascii_is_caught() {
    assert_catches(sources_are_ascii, "src/a.rs", "//! A.\n//! \u{b5}s\n", 2);
    assert_catches(sources_are_ascii, "scripts/a.sh", "# caf\u{e9}\n", 1);
    assert_catches(sources_are_ascii, "src/tests/a.rs", "fn caf\u{e9}() {}\n", 1);
    assert_passes(sources_are_ascii, "src/tests/a.rs", "let c = \"caf\u{e9}\";\n");
    assert_passes(sources_are_ascii, "src/a.rs", "let c = '\\u{b5}';\n");
}

#[test]
fn an_empty_name_is_caught() {
    for text in ["fn get_name() {}\n", "struct PoolManager;\n", "mod utils;\n"] {
        assert_catches(names_mean_something, "src/a.rs", text, 1);
    }
    assert_catches(names_mean_something, "src/utils.rs", "//! A.\n", 1);
    assert_passes(names_mean_something, "src/a.rs", "let m = matches.get_one(\"utils\");\n");
}

#[test]
fn an_unfinished_line_is_caught() {
    for word in UNFINISHED {
        assert_catches(nothing_is_unfinished, "src/a.rs", &format!("//! A.\n {word} \n"), 2);
        assert_catches(nothing_is_unfinished, "scripts/a.sh", &format!("# {word} \n"), 1);
    }
    assert_passes(nothing_is_unfinished, "src/a.rs", "//! Work to be done by the kernel.\n");
}

#[test]
fn a_relaxation_without_a_reason_is_caught() {
    let rule = relaxations_have_reasons;
    assert_catches(rule, "src/a.rs", "#[allow(dead_code)]\nfn f() {}\n", 1);
    assert_catches(rule, "src/a.rs", "#![expect(\n    dead_code,\n)]\n// reason\n", 1);
    assert_passes(rule, "src/a.rs", "#[expect(\n    dead_code,\n    reason = \"a\"\n)]\n");
}

#[test]
fn a_file_nobody_names_is_caught() {
    assert_catches(files_are_used, "src/lost.rs", "//! A.\n", 1);
    assert_passes(files_are_used, "src/protocol/tests/frames.rs", "//! A.\n");
    assert_passes(files_are_used, "src/lib.rs", "//! A.\n");
    let mut tree = Tree::of("src/found.rs", "//! A.\n");
    tree.sources.push(Source::new("src/lib.rs", "//! A.\nmod found;\n"));
    assert_eq!(files_are_used(&tree), []);
}

#[test]
fn a_stray_at_the_top_is_caught() {
    let mut tree = Tree::of("src/a.rs", "");
    tree.top = vec![".gitignore".to_owned(), "notes.txt".to_owned(), "src".to_owned()];
    let offences = top_level_is_named(&tree);
    assert_eq!(offences.len(), 1);
    assert_eq!(offences[0].path, "notes.txt");
}

#[test]
fn an_unexplained_dependency_is_caught() {
    let text = "[dependencies]\nbytes = \"1\"\nringwire-ring.workspace = true\n";
    assert_catches(dependencies_are_explained, "loadgen/Cargo.toml", text, 2);
    let mut tree = Tree::of("loadgen/Cargo.toml", text);
    tree.readme = "| `bytes` | shared buffers |".to_owned();
    assert_eq!(dependencies_are_explained(&tree), []);
}

#[test]
fn an_unexplained_flag_is_caught() {
    let text = "/// A.\n#[arg(long, default_value = \"1\")]\n#[arg(value_parser = f)]\n\
                pub(super) max_things: u32,\npub(super) other: u32,\n";
    assert_catches(flags_are_explained, "src/cli/flags.rs", text, 4);
    let mut tree = Tree::of("src/cli/flags.rs", text);
    tree.readme = "| `--max-things-ever` |".to_owned();
    assert_eq!(flags_are_explained(&tree).len(), 1);
    tree.readme = "| `--max-things N` |".to_owned();
    assert_eq!(flags_are_explained(&tree), []);
}

#[test]
fn lints_of_its_own_are_caught() {
    assert_catches(lints_are_inherited, "src/ring/Cargo.toml", "[package]\n", 1);
    assert_passes(lints_are_inherited, "src/ring/Cargo.toml", "[lints]\nworkspace = true\n");
}
