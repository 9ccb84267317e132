//! Who may know what: the walls between the rooms that types alone cannot hold.
//!
//! Not here: width, words and other matters of form. Each rule has a list of the places that may
//! cross it, with the reason.

use crate::source::{Source, holds_word};
use crate::{Offence, Tree};

/// Places that read a clock without being the ring, and why they may.
const CLOCKS_ALLOWED: &[(&str, &str)] = &[
    ("loadgen/src/engine/client.rs", "the date in {time_ms}: nothing is measured by it"),
    ("src/admin/exchange.rs", "the admin listener's own thread: the deadline of one scrape"),
    ("src/log.rs", "stamps log lines with the date, on the main thread"),
];

/// Places that sleep, and why they may.
const SLEEPS_ALLOWED: &[(&str, &str)] = &[
    ("examples/decide.rs", "stands for the slow question that another thread asks"),
    ("src/admin.rs", "the admin listener's own thread, when accepting fails"),
    ("src/log.rs", "keeps a wait its length once nobody is left to wait for"),
    (
        "src/ring/socket_file.rs",
        "a killed server's socket answers for a moment, and no event tells",
    ),
];

/// Places in the rooms below that print, and why they may.
const PRINTS_ALLOWED: &[(&str, &str)] = &[
    ("src/ring/examples/accept_cost.rs", "is a program, whose output is what it is for"),
    ("src/ring/sim/random.rs", "prints the seed of a test that fails"),
    ("src/ring/sim/run.rs", "prints the last events of a test that fails"),
];

/// What each package must not name in its manifest.
const PACKAGES_APART: &[(&str, &[&str])] = &[
    (
        "src/protocol/Cargo.toml",
        &["ringwire", "ringwire-transport", "ringwire-ring", "loadgen", "io-uring", "libc"],
    ),
    (
        "src/transport/Cargo.toml",
        &["ringwire", "ringwire-protocol", "ringwire-ring", "loadgen", "io-uring", "libc"],
    ),
    ("src/ring/Cargo.toml", &["ringwire", "ringwire-protocol", "ringwire-transport", "loadgen"]),
    ("loadgen/Cargo.toml", &["ringwire", "io-uring", "libc"]),
    ("Cargo.toml", &["loadgen", "io-uring", "libc", "tokio"]),
];

/// What is not to be named inside a room, tests apart. `std::io::Write` is how numbers are
/// formatted into a vector; the rest of `std::io` is IO.
const ROOMS: &[(&str, &[&str])] = &[
    (
        "src/protocol/",
        &[
            "std::net",
            "std::io;",
            "std::io::Read",
            "std::io::BufRead",
            "std::io::stdin",
            "std::io::stdout",
            "std::io::stderr",
            "std::time",
            "std::thread",
            "std::fs",
            "std::os",
            "std::env",
            "std::process",
        ],
    ),
    ("src/transport/", &["std::time", "std::net", "std::fs", "std::os", "std::env"]),
];

/// `unsafe` stands in the ring and nowhere else.
pub(crate) fn unsafe_in_the_ring(tree: &Tree) -> Vec<Offence> {
    let elsewhere = tree.rust().filter(|source| !source.path.starts_with("src/ring/"));
    words_in(elsewhere, Source::code_lines, &["unsafe"], "move it to src/ring, or do without")
}

/// Descriptors and the kernel's own interfaces are known to the ring alone, tests included.
pub(crate) fn descriptors_in_the_ring(tree: &Tree) -> Vec<Offence> {
    let words = [
        "std::os::fd",
        "std::os::unix::io",
        "RawFd",
        "OwnedFd",
        "BorrowedFd",
        "AsRawFd",
        "libc::",
        "io_uring::",
    ];
    let elsewhere = tree.product_tree().filter(|source| !source.path.starts_with("src/ring/"));
    words_in(elsewhere, Source::code_lines, &words, "ask src/ring for what is needed")
}

/// Time comes from the driver, once per turn; tests may keep a deadline against hanging.
pub(crate) fn clocks_in_the_ring(tree: &Tree) -> Vec<Offence> {
    let words = ["Instant::now", "SystemTime::now", "clock_gettime", ".elapsed()"];
    let elsewhere = tree.product_tree().filter(|source| {
        !source.path.starts_with("src/ring/") && !is_allowed(&source.path, CLOCKS_ALLOWED)
    });
    words_in(
        elsewhere,
        Source::product_lines,
        &words,
        "take the time as an argument, or list the place in CLOCKS_ALLOWED with its reason",
    )
}

/// Unpredictable bytes come from the driver, so that one seed replays a run.
pub(crate) fn entropy_in_the_ring(tree: &Tree) -> Vec<Offence> {
    let words = ["RandomState::new", "getrandom", "thread_rng", "rand::", "fastrand"];
    let elsewhere = tree.product_tree().filter(|source| !source.path.starts_with("src/ring/"));
    words_in(elsewhere, Source::product_lines, &words, "take it from Driver::entropy")
}

/// Nothing waits by sleeping, tests least of all: it is slow when it works and wrong when busy.
pub(crate) fn nothing_sleeps(tree: &Tree) -> Vec<Offence> {
    let places = tree.product_tree().filter(|source| !is_allowed(&source.path, SLEEPS_ALLOWED));
    words_in(
        places,
        Source::code_lines,
        &["thread::sleep", "sleep_ms"],
        "wait for the event itself, or list the place in SLEEPS_ALLOWED with its reason",
    )
}

/// A room does not name what it must not know.
pub(crate) fn rooms_keep_their_walls(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for (room, words) in ROOMS {
        let inside: Vec<&Source> =
            tree.product_tree().filter(|source| source.path.starts_with(room)).collect();
        offences.extend(words_in(
            inside.iter().copied(),
            Source::product_lines,
            words,
            "this room must not know it: take it as an argument, or move the line",
        ));
        offences.extend(words_in(
            inside.iter().copied(),
            Source::product_lines,
            &["std::{", "std::io::{", "extern crate std"],
            "name std's modules one to a line, so that the wall can be checked",
        ));
    }
    offences
}

/// The rooms below the programs are silent: what there is to say is returned.
pub(crate) fn rooms_are_silent(tree: &Tree) -> Vec<Offence> {
    let rooms = ["src/protocol/", "src/transport/", "src/ring/"];
    let inside = tree.product_tree().filter(|source| {
        rooms.iter().any(|room| source.path.starts_with(room))
            && !is_allowed(&source.path, PRINTS_ALLOWED)
    });
    let words = ["println!", "eprintln!", "print!", "eprint!"];
    words_in(inside, Source::product_lines, &words, "return it to whoever may write")
}

/// The packages do not name one another across a wall.
pub(crate) fn packages_stay_apart(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for (path, forbidden) in PACKAGES_APART {
        let Some(manifest) = tree.sources.iter().find(|source| source.path == *path) else {
            offences.push(Offence::new(path, 1, "the package is gone", "correct PACKAGES_APART"));
            continue;
        };
        for (line, name) in dependencies(manifest) {
            if forbidden.contains(&name.as_str()) {
                let what = format!("depends on `{name}`");
                offences.push(Offence::new(path, line, &what, "there is a wall: do without"));
            }
        }
    }
    offences
}

/// The dependencies a manifest declares, the workspace's table apart.
pub(crate) fn dependencies(manifest: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut inside = false;
    for (number, line) in manifest.lines() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section.ends_with("dependencies") && section != "workspace.dependencies";
            let single = section.rsplit_once("dependencies.").map(|(_, name)| name);
            found.extend(single.map(|name| (number, name.trim_matches('"').to_owned())));
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or(line);
            found.push((number, name.trim_matches('"').to_owned()));
        }
    }
    found
}

fn is_allowed(path: &str, allowed: &[(&str, &str)]) -> bool {
    allowed.iter().any(|(place, _)| *place == path)
}

fn words_in<'s, L, I>(
    sources: impl Iterator<Item = &'s Source>,
    lines: L,
    words: &[&str],
    cure: &'static str,
) -> Vec<Offence>
where
    L: Fn(&'s Source) -> I,
    I: Iterator<Item = (usize, &'s str)>,
{
    let mut offences = Vec::new();
    for source in sources {
        for (number, line) in lines(source) {
            for word in words.iter().filter(|word| holds_word(line, word)) {
                let what = format!("names `{word}`");
                offences.push(Offence::new(&source.path, number, &what, cure));
            }
        }
    }
    offences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{assert_catches, assert_passes};

    #[test]
    fn unsafe_outside_the_ring_is_caught() {
        let text = "//! A.\nfn f() { unsafe { g() } }\n";
        assert_catches(unsafe_in_the_ring, "src/worker.rs", text, 2);
        assert_catches(unsafe_in_the_ring, "src/tests/live.rs", text, 2);
        assert_passes(unsafe_in_the_ring, "src/ring/uring.rs", text);
        assert_passes(unsafe_in_the_ring, "src/lib.rs", "#![forbid(unsafe_code)] // no unsafe\n");
    }

    #[test]
    fn descriptors_outside_the_ring_are_caught() {
        assert_catches(descriptors_in_the_ring, "src/a.rs", "use std::os::fd::AsFd;\n", 1);
        assert_catches(descriptors_in_the_ring, "loadgen/src/a.rs", "\nlibc::kill(1, 2);\n", 2);
        assert_catches(descriptors_in_the_ring, "src/tests/a.rs", "fn f(fd: RawFd) {}\n", 1);
        assert_passes(descriptors_in_the_ring, "src/ring/a.rs", "libc::kill(1, 2);\n");
    }

    #[test]
    fn clocks_outside_the_ring_are_caught() {
        for text in ["Instant::now();\n", "SystemTime::now();\n", "began.elapsed();\n"] {
            assert_catches(clocks_in_the_ring, "src/worker.rs", text, 1);
            assert_catches(clocks_in_the_ring, "loadgen/src/pacer.rs", text, 1);
            assert_passes(clocks_in_the_ring, "src/ring/clock.rs", text);
            assert_passes(clocks_in_the_ring, "src/tests/live.rs", text);
        }
    }

    #[test]
    fn entropy_outside_the_ring_is_caught() {
        assert_catches(entropy_in_the_ring, "src/a.rs", "let s = RandomState::new();\n", 1);
        assert_passes(entropy_in_the_ring, "src/ring/a.rs", "let s = RandomState::new();\n");
    }

    #[test]
    fn sleeping_is_caught() {
        assert_catches(nothing_sleeps, "src/tests/a.rs", "std::thread::sleep(one);\n", 1);
        assert_passes(nothing_sleeps, "src/a.rs", "let sleeping = true;\n");
    }

    #[test]
    fn a_room_that_names_too_much_is_caught() {
        let rule = rooms_keep_their_walls;
        assert_catches(rule, "src/protocol/a.rs", "use std::net::IpAddr;\n", 1);
        assert_catches(rule, "src/protocol/a.rs", "use std::io::Read;\n", 1);
        assert_catches(rule, "src/protocol/a.rs", "use std::io;\n", 1);
        assert_catches(rule, "src/protocol/a.rs", "use std::io::{Read, Write};\n", 1);
        assert_passes(rule, "src/protocol/a.rs", "use std::io::Write as _;\n");
        assert_catches(rule, "src/protocol/a.rs", "use std::{fmt, net::IpAddr};\n", 1);
        assert_catches(rule, "src/transport/a.rs", "\nuse std::time::Duration;\n", 2);
        assert_passes(rule, "src/protocol/tests/a.rs", "use std::io::Read;\n");
        assert_passes(rule, "src/worker.rs", "use std::net::IpAddr;\n");
    }

    #[test]
    fn printing_in_a_library_room_is_caught() {
        assert_catches(rooms_are_silent, "src/ring/a.rs", "eprintln!(\"x\");\n", 1);
        assert_passes(rooms_are_silent, "src/ring/tests/a.rs", "eprintln!(\"x\");\n");
        assert_passes(rooms_are_silent, "src/main.rs", "eprintln!(\"x\");\n");
    }

    #[test]
    fn a_place_that_is_allowed_has_a_reason_and_exists() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        for (path, reason) in [CLOCKS_ALLOWED, SLEEPS_ALLOWED, PRINTS_ALLOWED].concat() {
            assert!(root.join(path).is_file(), "{path} is gone: take it off the list");
            assert!(reason.len() > 10, "{path}: say why");
        }
    }

    #[test]
    fn a_manifest_across_a_wall_is_caught() {
        let text = "[package]\nname = \"p\"\n[dependencies]\nringwire-ring.workspace = true\n";
        let rule = packages_stay_apart;
        assert_catches(rule, "src/protocol/Cargo.toml", text, 4);
        let section = "[dev-dependencies.ringwire-protocol]\npath = \"../protocol\"\n";
        assert_catches(rule, "src/transport/Cargo.toml", section, 1);
        assert_catches(rule, "src/ring/Cargo.toml", section, 1);
    }
}
