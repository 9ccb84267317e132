//! Plays what the fuzzer found worth keeping again: each file of `fuzz/corpus/` in its target.
#![expect(clippy::tests_outside_test_module, reason = "the whole file is a test")]

use std::fs;
use std::path::Path;

#[path = "../fuzz/lib.rs"]
pub mod targets;

#[test]
fn the_corpus_holds_no_surprise() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for &(name, target) in targets::TARGETS {
        let mut played = 0;
        for entry in fs::read_dir(corpus.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")) {
            let path = entry.expect("a file").path();
            let data = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            // Shown if the target panics.
            println!("{}", path.display());
            target(&data);
            played += 1;
        }
        assert!(played >= 10, "{name} has {played} inputs");
    }
}
