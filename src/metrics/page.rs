//! The Prometheus text format, version 0.0.4, as far as it is used here.
//!
//! Not here: which metrics there are. Invariants: a family's samples stand together, after its
//! HELP and TYPE; a counter's name ends in `_total`.

use std::fmt::{self, Display, Write};

/// The type of a page.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page under way.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
    name: &'static str,
}

impl Page {
    /// Begins a counter's family.
    pub(super) fn counter(&mut self, name: &'static str, help: &str) {
        debug_assert!(name.ends_with("_total"), "{name} is a counter");
        self.family(name, help, "counter");
    }

    /// Begins a gauge's family.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str) {
        debug_assert!(!name.ends_with("_total"), "{name} is a gauge");
        self.family(name, help, "gauge");
    }

    fn family(&mut self, name: &'static str, help: &str, kind: &str) {
        debug_assert!(!help.contains(['\n', '\\']), "help of {name} would need escapes");
        self.name = name;
        self.append(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// Adds a sample to the family begun last.
    pub(super) fn sample(&mut self, labels: &[(&str, &dyn Display)], value: impl Display) {
        self.text.push_str(self.name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.append(format_args!("{}{label}=\"", if index == 0 { '{' } else { ',' }));
            self.label_value(*text);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.append(format_args!(" {value}\n"));
    }

    fn label_value(&mut self, value: &dyn Display) {
        for character in value.to_string().chars() {
            match character {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                plain => self.text.push(plain),
            }
        }
    }

    /// The whole page.
    pub(super) fn finish(self) -> String {
        self.text
    }

    fn append(&mut self, part: fmt::Arguments<'_>) {
        let written = self.text.write_fmt(part);
        debug_assert!(written.is_ok(), "a String takes all");
    }
}
