//! `--scenario FILE.toml`: flags by their long names, in tables, for what is run again and again.
//!
//! Not here: what a flag means. The file's values are spelled as arguments and read by the one
//! parser of flags. Invariant: flags go before the environment, and that before the file; a mistake
//! in the file is told by file, line and column, with code 104.

use std::error::Error as _;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, CommandFactory};
use loadgen::outcome::Failure;
use toml::de::{DeTable, DeValue};

use super::Cli;

/// A file longer than this is not a scenario.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The tables; any flag may stand in any of them, or before the first.
const TABLES: [&str; 11] = [
    "target",
    "connect",
    "traffic",
    "messages",
    "publish",
    "feed",
    "churn",
    "slow_readers",
    "measure",
    "server",
    "output",
];

/// Further words for flags, as scenarios have them.
const URL: &str = "url";

/// Where flags may come from.
#[derive(Debug, Args)]
pub(crate) struct FileFlags {
    /// Flags from this TOML file, by their long names; those given here or by LOADGEN_* go first
    #[arg(long, env = "LOADGEN_SCENARIO", value_name = "FILE.toml")]
    pub(crate) scenario: Option<PathBuf>,
}

/// The arguments of the command line, and behind them those of the scenario file that it names.
pub(crate) fn expand(mut typed: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    // What is wrong or missing on the command line is told when all of it is there.
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(&typed);
    let Some((name, own)) = matches.as_ref().ok().and_then(ArgMatches::subcommand) else {
        return Ok(typed);
    };
    let Ok(Some(path)) = own.try_get_one::<PathBuf>("scenario") else { return Ok(typed) };
    let text = read(path)?;
    let file = File { path, text: &text, command: name };
    for setting in file.settings()? {
        let source = own.value_source(&setting.id);
        let is_given = matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable));
        if !is_given {
            typed.extend(setting.arguments);
        }
    }
    Ok(typed)
}

fn read(path: &Path) -> Result<String, Failure> {
    let wrong =
        |why: String| Failure::configuration(format!("--scenario {}: {why}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong("it is longer than 1 MiB".to_owned()));
    }
    String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8".to_owned()))
}

/// One key of the file as arguments.
#[derive(Debug)]
struct Setting {
    /// What the parser calls it.
    id: String,
    arguments: Vec<OsString>,
}

/// A scenario file for one command.
#[derive(Debug)]
struct File<'a> {
    path: &'a Path,
    text: &'a str,
    command: &'a str,
}

impl File<'_> {
    fn settings(&self) -> Result<Vec<Setting>, Failure> {
        let table = DeTable::parse(self.text).map_err(|error| {
            self.blame(error.span().map_or(0, |span| span.start), &one_line(error.message()))
        })?;
        let mut settings = Vec::new();
        for (key, value) in table.get_ref() {
            let DeValue::Table(inner) = value.get_ref() else {
                self.add(&mut settings, key.get_ref(), key.span().start, value.get_ref())?;
                continue;
            };
            if !TABLES.contains(&key.get_ref().as_ref()) {
                let what = format!("unknown table [{}]", key.get_ref());
                let tables = TABLES.map(str::to_owned);
                let why = suggest(&what, key.get_ref(), &tables, "tables are");
                return Err(self.blame(key.span().start, &why));
            }
            for (key, value) in inner {
                self.add(&mut settings, key.get_ref(), key.span().start, value.get_ref())?;
            }
        }
        Ok(settings)
    }

    fn add(
        &self,
        settings: &mut Vec<Setting>,
        key: &str,
        at: usize,
        value: &DeValue<'_>,
    ) -> Result<(), Failure> {
        let flag = key.replace('_', "-");
        let command = self.flags();
        let known = |argument: &&Arg| name_of(argument).is_some_and(|name| name == flag);
        let Some(argument) = command.get_arguments().find(known) else {
            let names: Vec<_> = command.get_arguments().filter_map(name_of).collect();
            let what = format!("unknown key `{key}`");
            let else_ = "keys are the long names of flags";
            return Err(self.blame(at, &suggest(&what, &flag, &names, else_)));
        };
        let id = argument.get_id().as_str().to_owned();
        if settings.iter().any(|setting| setting.id == id) {
            return Err(self.blame(at, &format!("`{key}` stands here a second time")));
        }
        let blame = |why: String| self.blame(at, &format!("{key}: {why}"));
        let arguments = arguments(argument, &flag, value).map_err(blame)?;
        for one in &arguments {
            self.check(&flag, one).map_err(blame)?;
        }
        settings.push(Setting { id, arguments });
        Ok(())
    }

    /// The command whose flags the keys are.
    fn flags(&self) -> Command {
        let all = Cli::command();
        all.find_subcommand(self.command).cloned().unwrap_or(all)
    }

    /// Whether the parser of flags takes one argument; if not, why.
    fn check(&self, flag: &str, argument: &OsString) -> Result<(), String> {
        let words = [OsString::from("loadgen"), self.command.into(), argument.clone()];
        let Err(error) = Cli::command().try_get_matches_from(words) else { return Ok(()) };
        let blamed = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(name)) => name.as_str(),
            _ => "",
        };
        let is_url = flag == URL && blamed.contains("URL");
        let is_value = matches!(
            error.kind(),
            clap::error::ErrorKind::ValueValidation | clap::error::ErrorKind::InvalidValue
        );
        if !is_value || !(is_url || blamed.contains(&format!("--{flag}"))) {
            return Ok(());
        }
        Err(error.source().map_or_else(|| one_line(&error.to_string()), ToString::to_string))
    }

    fn blame(&self, at: usize, why: &str) -> Failure {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before[start..].chars().count() + 1;
        Failure::configuration(format!("{}:{line}:{column}: {why}", self.path.display()))
    }
}

/// What a key calls a flag; the URL is the one argument that is none.
fn name_of(argument: &Arg) -> Option<String> {
    if argument.get_id() == URL {
        return Some(URL.to_owned());
    }
    let name = argument.get_long()?;
    (!matches!(name, "scenario" | "help" | "version")).then(|| name.to_owned())
}

/// A value as it would be typed.
fn arguments(argument: &Arg, flag: &str, value: &DeValue<'_>) -> Result<Vec<OsString>, String> {
    let spelled = |value: String| -> OsString {
        if flag == URL { value.into() } else { format!("--{flag}={value}").into() }
    };
    let is_switch = !argument.get_action().takes_values();
    match value {
        DeValue::Boolean(is_on) if is_switch => {
            Ok(is_on.then(|| format!("--{flag}").into()).into_iter().collect())
        }
        _ if is_switch => Err("takes true or false".to_owned()),
        DeValue::Array(items) if matches!(argument.get_action(), ArgAction::Append) => {
            items.iter().map(|item| scalar(item.get_ref()).map(spelled)).collect()
        }
        DeValue::Array(_) => Err("takes one value, not a list".to_owned()),
        other => Ok(vec![spelled(scalar(other)?)]),
    }
}

fn scalar(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        DeValue::Integer(_) => Err("write the number in decimal".to_owned()),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(is_on) => Ok(if *is_on { "on" } else { "off" }.to_owned()),
        other => Err(format!("takes a string or a number, not a {}", other.type_str())),
    }
}

/// What is wrong, and the nearest of what is known.
fn suggest(what: &str, name: &str, known: &[String], all: &str) -> String {
    let nearest = known.iter().min_by_key(|known| distance(name, known));
    match nearest.filter(|known| distance(name, known) <= name.len().max(3) / 2) {
        Some(nearest) => format!("{what}; did you mean `{nearest}`?"),
        None if known.len() > TABLES.len() => format!("{what}; {all}"),
        None => format!("{what}; {all} {}", known.join(", ")),
    }
}

/// Letters to insert, leave out or change until `a` is `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in b.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn one_line(text: &str) -> String {
    let text = text.trim().trim_start_matches("error: ");
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments_of(text: &str) -> Result<Vec<String>, Failure> {
        let file = File { path: Path::new("s.toml"), text, command: "run" };
        let settings = file.settings()?.into_iter();
        Ok(settings
            .flat_map(|setting| setting.arguments)
            .map(|one| one.into_string().unwrap())
            .collect())
    }

    #[test]
    fn keys_are_flags_in_whatever_table() {
        let text = "url = 'ws://h/'\n[connect]\nconnections = 200\ninsecure = true\n\
                    tls-resumption = false\nheader = ['A: b', 'C: d']\n\
                    [traffic]\nrate = 0.5\nduration = '5s'\n\
                    [messages]\nfirst_message = ['{\"id\":1}']\nno_tui = false\n";
        let mut all = arguments_of(text).unwrap();
        all.sort();
        let mut expected = [
            "ws://h/",
            "--connections=200",
            "--insecure",
            "--tls-resumption=off",
            "--header=A: b",
            "--header=C: d",
            "--rate=0.5",
            "--duration=5s",
            "--first-message={\"id\":1}",
        ];
        expected.sort_unstable();
        assert_eq!(all, expected);
    }

    #[test]
    fn a_mistake_is_told_by_line_and_column_with_what_may_have_been_meant() {
        let table = [
            (
                "url = 'ws://h/'\nconnectons = 5",
                "s.toml:2:1: unknown key `connectons`; did you mean `connections`?",
            ),
            ("[trafic]\nrate = 5", "s.toml:1:2: unknown table [trafic]; did you mean `traffic`?"),
            ("[traffic]\n  rate = 'fast'", "s.toml:2:3: rate: `fast` is not a number"),
            ("rate = 1\n[traffic]\nrate = 2", "s.toml:3:1: `rate` stands here a second time"),
            ("insecure = 1", "s.toml:1:1: insecure: takes true or false"),
            ("rate = [1]", "s.toml:1:1: rate: takes one value"),
            ("rate = 0x10", "decimal"),
            ("rate = 1979-05-27", "not a datetime"),
            ("url = 'h:1'", "s.toml:1:1: url: a URL begins with"),
            ("mode = 'ecko'", "s.toml:1:1: mode: "),
            ("zzzzzzzzzzzz = 1", "keys are the long names of flags"),
            ("a = = 1", "s.toml:1:"),
            ("[traffic.inner]\nrate = 1", "unknown key `inner`"),
        ];
        for (text, expected) in table {
            let failure = arguments_of(text).unwrap_err();
            assert_eq!(failure.code, 104, "{text}");
            assert!(failure.line.contains(expected), "{text}: {}", failure.line);
            assert!(!failure.line.contains('\n'), "{text}");
        }
    }

    /// The command line that `words` and the file beside it come to.
    fn expanded(name: &str, text: &str, words: &[&str]) -> Vec<String> {
        let path = std::env::temp_dir().join(format!("loadgen-{name}-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let option = format!("--scenario={}", path.display());
        let typed = ["loadgen", "run"].iter().chain(words).copied().chain([option.as_str()]);
        let all = expand(typed.map(OsString::from).collect());
        std::fs::remove_file(&path).unwrap();
        all.unwrap().into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn what_is_typed_goes_before_what_the_file_says() {
        let text = "url = 'ws://file/'\nrate = 5\nconnections = 7\nheader = ['A: b']\n";
        let all = expanded("precedence", text, &["ws://typed/", "-R", "9"]);
        assert_eq!(all[2..5], ["ws://typed/", "-R", "9"]);
        assert_eq!(all[6..], ["--connections=7", "--header=A: b"]);
        use clap::Parser;
        let all = expanded("alone", text, &[]);
        match Cli::try_parse_from(all).unwrap().command {
            crate::cli::Command::Run(flags) => {
                assert_eq!((flags.url.host.as_str(), flags.connections), ("file", 7));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_example_is_a_scenario() {
        let text = include_str!("../../../examples/centrifugo.toml");
        let arguments = arguments_of(text).unwrap();
        assert!(arguments.contains(&"--reply-to={}={}".to_owned()), "{arguments:?}");
    }

    #[test]
    fn distances_are_levenshteins() {
        let table = [("", "", 0), ("", "ab", 2), ("kitten", "sitting", 3), ("rate", "tare", 2)];
        for (a, b, expected) in table {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
