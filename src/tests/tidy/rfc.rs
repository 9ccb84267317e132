//! Every MUST of the protocols' RFCs is quoted at a line that obeys it and at a test that shows it.
//!
//! The sentences are listed in `src/protocol/rfc/`, one to a line, with the section in front. A
//! quotation is `//= url#section`, for a test `//= type=test`, then the words after `//#`. Not
//! here: whether the code obeys; that is the test's business. Invariant: white space never counts.

use std::fmt::Write as _;

use crate::source::{Source, holds_word};
use crate::{Offence, Tree};

const LISTS: &str = "src/protocol/rfc/";
const URL: &str = "https://www.rfc-editor.org/rfc/";
const KEYWORDS: &[&str] = &["MUST", "REQUIRED", "SHALL"];

/// A sentence of an RFC that demands something.
struct Demand {
    /// Where it is listed.
    path: String,
    line: usize,
    /// `rfc6455#section-5.2`.
    section: String,
    text: String,
    /// Why nothing here has to obey it.
    exempt: bool,
}

/// Words of an RFC in a comment.
struct Quote {
    path: String,
    line: usize,
    section: String,
    text: String,
    is_test: bool,
}

/// Where a demand is quoted.
struct Found<'q> {
    code: Vec<&'q Quote>,
    tests: Vec<&'q Quote>,
}

/// Demands without a line, without a test, and quotations of what no RFC says.
pub(crate) fn musts_are_quoted(tree: &Tree) -> Vec<Offence> {
    let demands = demands(tree);
    let quotes: Vec<Quote> = tree.rust().flat_map(quotes_in).collect();
    let mut offences = Vec::new();
    for demand in demands.iter().filter(|demand| !demand.exempt) {
        let found = find(demand, &quotes);
        for (quoted, place) in [(&found.code, "line of code"), (&found.tests, "test")] {
            if !is_covered(demand, quoted) {
                let (section, text) = (&demand.section, &demand.text);
                let what = format!("no {place} quotes {section} \"{text}\"");
                let cure = "quote it with //= and //# where it is obeyed, or say why it is exempt";
                offences.push(Offence::new(&demand.path, demand.line, &what, cure));
            }
        }
    }
    for quote in &quotes {
        let rfc = quote.section.split('#').next().unwrap_or_default();
        let is_listed = demands.iter().any(|demand| demand.path.contains(rfc));
        let is_known = demands.iter().any(|demand| !covered_by(demand, quote).is_empty());
        if is_listed && !keywords_in(&quote.text).is_empty() && !is_known {
            let what = format!("the list has no such sentence in {}", quote.section);
            let cure = "correct the words or the section, or complete the list";
            offences.push(Offence::new(&quote.path, quote.line, &what, cure));
        }
    }
    offences.extend(tree.rust().flat_map(misplaced));
    offences
}

/// A table for people: every demand with where it is quoted, or only the sums.
pub(crate) fn report(tree: &Tree, every: bool) -> String {
    let quotes: Vec<Quote> = tree.rust().flat_map(quotes_in).collect();
    let mut out = String::new();
    let demands = demands(tree);
    for list in tree.sources.iter().filter(|source| is_list(source)) {
        let own: Vec<&Demand> = demands.iter().filter(|d| d.path == list.path).collect();
        let exempt = own.iter().filter(|demand| demand.exempt).count();
        let missing = |demand: &&&Demand| {
            let found = find(demand, &quotes);
            !is_covered(demand, &found.code) || !is_covered(demand, &found.tests)
        };
        let open = own.iter().filter(|d| !d.exempt).filter(missing).count();
        for demand in own.iter().filter(|_| every) {
            let found = find(demand, &quotes);
            let places = |quotes: &[&Quote]| {
                let places: Vec<_> =
                    quotes.iter().map(|quote| format!("{}:{}", quote.path, quote.line)).collect();
                if places.is_empty() { "-".to_owned() } else { places.join(" ") }
            };
            let words = if demand.exempt { "exempt" } else { "asked" };
            let _ = writeln!(out, "{} ({words}) {}", demand.section, demand.text);
            let _ = writeln!(out, "    code {}", places(&found.code));
            let _ = writeln!(out, "    test {}", places(&found.tests));
        }
        let name = list.path.trim_start_matches(LISTS).trim_end_matches(".txt");
        let quoted = own.len() - exempt - open;
        let _ = writeln!(
            out,
            "{name}: {} sentences with MUST, REQUIRED or SHALL: {quoted} quoted at code and at \
             tests, {exempt} exempt with a reason, {open} missing",
            own.len()
        );
    }
    out
}

fn is_list(source: &Source) -> bool {
    source.path.starts_with(LISTS)
}

fn demands(tree: &Tree) -> Vec<Demand> {
    let mut demands: Vec<Demand> = Vec::new();
    for list in tree.sources.iter().filter(|source| is_list(source)) {
        let rfc = list.path.trim_start_matches(LISTS).trim_end_matches(".txt");
        for (line, text) in list.lines() {
            if text.trim_start().starts_with("exempt: ") {
                if let Some(demand) = demands.last_mut() {
                    demand.exempt = true;
                }
            } else if let Some((section, text)) = text.split_once(' ')
                && !section.starts_with('#')
            {
                demands.push(Demand {
                    path: list.path.clone(),
                    line,
                    section: format!("{rfc}#section-{section}"),
                    text: text.to_owned(),
                    exempt: false,
                });
            }
        }
    }
    demands
}

fn quotes_in(source: &Source) -> Vec<Quote> {
    let mut quotes: Vec<Quote> = Vec::new();
    let mut is_open = false;
    for (line, text) in source.lines() {
        let text = text.trim();
        if let Some(section) = text.strip_prefix("//= ").and_then(|rest| rest.strip_prefix(URL)) {
            quotes.push(Quote {
                path: source.path.clone(),
                line,
                section: section.to_owned(),
                text: String::new(),
                is_test: false,
            });
            is_open = true;
        } else if let Some(quote) = quotes.last_mut().filter(|_| is_open) {
            if text == "//= type=test" {
                quote.is_test = true;
            } else if let Some(words) = text.strip_prefix("//# ") {
                quote.text.push_str(words);
                quote.text.push(' ');
            } else {
                is_open = false;
            }
        }
    }
    quotes
}

/// Quotations for tests that stand at no test, and others that stand in one.
fn misplaced(source: &Source) -> Vec<Offence> {
    let lines: Vec<&str> = source.text.lines().collect();
    let quotes = quotes_in(source).into_iter().filter_map(|quote| {
        let follows = |word: &str| {
            let rest = lines[quote.line..].iter().map(|line| line.trim());
            let mut rest = rest.filter(|line| !line.starts_with("//"));
            rest.next().is_some_and(|line| line.starts_with(word))
        };
        let (is_wrong, what) = match quote.is_test {
            true => (!follows("#[test]"), "quoted for a test, and none follows"),
            false => (quote.line > source.product_length(), "quoted for code, inside a test"),
        };
        let cure = "//= type=test goes right above #[test], and only there";
        is_wrong.then(|| Offence::new(&quote.path, quote.line, what, cure))
    });
    quotes.collect()
}

fn find<'q>(demand: &Demand, quotes: &'q [Quote]) -> Found<'q> {
    let here = quotes.iter().filter(|quote| !covered_by(demand, quote).is_empty());
    let (tests, code) = here.partition(|quote| quote.is_test);
    Found { code, tests }
}

/// Whether every keyword of the sentence is inside one of the quotations.
fn is_covered(demand: &Demand, quotes: &[&Quote]) -> bool {
    keywords_in(&demand.text)
        .iter()
        .all(|at| quotes.iter().any(|quote| covered_by(demand, quote).contains(at)))
}

/// The keywords of the sentence that the quotation holds, as places in the squeezed sentence.
fn covered_by(demand: &Demand, quote: &Quote) -> Vec<usize> {
    let (sentence, words) = (squeezed(&demand.text), squeezed(&quote.text));
    if demand.section != quote.section || words.is_empty() {
        return Vec::new();
    }
    let keywords = keywords_in(&demand.text);
    if words.contains(&sentence) {
        return keywords;
    }
    let Some(start) = sentence.find(&words) else { return Vec::new() };
    keywords.into_iter().filter(|at| (start..start + words.len()).contains(at)).collect()
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect()
}

/// Where keywords stand, as places in the squeezed text.
fn keywords_in(text: &str) -> Vec<usize> {
    let mut places = Vec::new();
    let mut at = 0;
    for word in text.split_whitespace() {
        if KEYWORDS.iter().any(|keyword| holds_word(word, keyword)) {
            places.push(at);
        }
        at += word.len();
    }
    places
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const LIST: &str = "# A list.\n5.1 A client MUST ask, and it MUST wait.\n\n\
                        5.2 A proxy SHALL sing.\n    exempt: no proxies here\n";

    fn tree(code: &str) -> Tree {
        let mut tree = Tree::of("src/a.rs", code);
        tree.sources.push(Source::new("src/protocol/rfc/rfc1.txt", LIST));
        tree
    }

    fn quoted(section: &str, words: &str) -> String {
        format!("    //= https://www.rfc-editor.org/rfc/rfc1#section-{section}\n    //# {words}\n")
    }

    fn tested(section: &str, words: &str) -> String {
        let quote = quoted(section, words).replacen("\n    //#", "\n    //= type=test\n    //#", 1);
        format!("{quote}    #[test]\n    fn a() {{}}\n")
    }

    fn whats(code: &str) -> Vec<String> {
        musts_are_quoted(&tree(code)).into_iter().map(|offence| offence.what).collect()
    }

    #[test]
    fn a_must_needs_a_line_and_a_test() {
        let sentence = "A client MUST ask,\n    //# and it MUST wait.";
        let both = format!(
            "fn b() {{}}\n{}#[cfg(test)]\nmod tests {{\n{}}}\n",
            quoted("5.1", sentence),
            tested("5.1", sentence)
        );
        assert_eq!(whats(&both), [""; 0]);
        let missing = |place: &str| {
            format!("no {place} quotes rfc1#section-5.1 \"A client MUST ask, and it MUST wait.\"")
        };
        assert_eq!(whats("fn b() {}\n"), [missing("line of code"), missing("test")]);
        assert_eq!(whats(&quoted("5.1", sentence)), [missing("test")]);
        // Half of it leaves the other MUST open.
        let half = both.replace(",\n    //# and it MUST wait.", "");
        assert_eq!(whats(&half), [missing("line of code"), missing("test")]);
        let halves = format!("{}{both}", quoted("5.1", "and it MUST wait."));
        assert_eq!(whats(&halves.replacen(",\n    //# and it MUST wait.", "", 1)), [""; 0]);
    }

    #[test]
    fn what_the_rfc_does_not_say_is_caught() {
        for (section, words) in [("5.1", "A client MUST dance."), ("5.3", "A client MUST ask,")] {
            let whats = whats(&quoted(section, words));
            let expected = format!("the list has no such sentence in rfc1#section-{section}");
            assert_eq!(whats.last(), Some(&expected));
        }
        assert_eq!(whats(&quoted("5.1", "A client may dance.")).len(), 2, "no keyword, no demand");
    }

    #[test]
    fn a_test_s_quotation_stands_at_a_test() {
        let lost = tested("5.1", "MUST ask").replace("#[test]", "#[inline]");
        assert!(whats(&lost).iter().any(|what| what.contains("none follows")), "{lost}");
        let inside = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", quoted("5.1", "MUST ask"));
        assert!(whats(&inside).iter().any(|what| what.contains("inside a test")), "{inside}");
    }

    #[test]
    fn every_must_of_this_tree() {
        let tree = Tree::read(Path::new(env!("CARGO_MANIFEST_DIR")));
        let every = std::env::var_os("RINGWIRE_RFC_ALL").is_some();
        println!("{}", report(&tree, every));
        let offences: String =
            musts_are_quoted(&tree).iter().map(|offence| format!("{offence}\n")).collect();
        assert!(offences.is_empty(), "{offences}");
    }
}
