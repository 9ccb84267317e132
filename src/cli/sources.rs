//! Settings from the environment and from the file, spelled as flags.
//!
//! Not here: what a setting means. Every source is turned into arguments and read by the one
//! parser of flags, so all three understand the same words. Invariant: a setting is taken from the
//! first of flags, environment and file that names it, and a mistake is blamed on its source.

use std::error::Error as _;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory};
use toml::de::{DeTable, DeValue};

use super::flags::Flags;
use crate::failure::Failure;

/// A file longer than this is not a configuration.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads one variable of the environment.
pub(super) type Environment<'e> = &'e dyn Fn(&str) -> Option<OsString>;

/// The arguments that environment and file add to those of the command line.
pub(super) fn arguments(
    matches: &ArgMatches,
    environment: Environment<'_>,
    read: &dyn Fn(&Path) -> Result<String, Failure>,
) -> Result<Vec<OsString>, Failure> {
    let file = match config_path(matches, environment) {
        Some(path) => Settings::of(&path, &read(&path)?)?,
        None => Settings::default(),
    };
    let mut added = Vec::new();
    for argument in Flags::command().get_arguments() {
        let Some(key) = key_of(argument) else { continue };
        if matches.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine) {
            continue;
        }
        match from_environment(key, environment)? {
            Some(value) => added.push(spelled(key, &value)),
            None => added.extend(file.values(key).iter().map(|value| spelled(key, value))),
        }
    }
    Ok(added)
}

/// The key of a flag that may come from anywhere.
fn key_of(argument: &Arg) -> Option<&str> {
    argument.get_long().filter(|key| !matches!(*key, "config" | "help" | "version"))
}

fn variable_of(key: &str) -> String {
    format!("RINGWIRE_{}", key.replace('-', "_").to_ascii_uppercase())
}

fn spelled(key: &str, value: &str) -> OsString {
    format!("--{key}={value}").into()
}

fn config_path(matches: &ArgMatches, environment: Environment<'_>) -> Option<PathBuf> {
    let flag = matches.get_one::<PathBuf>("config").cloned();
    flag.or_else(|| environment("RINGWIRE_CONFIG").filter(|path| !path.is_empty()).map(Into::into))
}

/// An empty variable counts as unset, as is the custom.
fn from_environment(key: &str, environment: Environment<'_>) -> Result<Option<String>, Failure> {
    let name = variable_of(key);
    let Some(value) = environment(&name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let value = value
        .into_string()
        .map_err(|value| Failure::configuration(format!("{name}: {value:?} is not UTF-8")))?;
    check(key, &value).map_err(|why| Failure::configuration(format!("{name}: {why}")))?;
    Ok(Some(value))
}

/// Whether the parser of flags takes `value`; if not, why.
fn check(key: &str, value: &str) -> Result<(), String> {
    let arguments = [OsString::from("ringwire"), spelled(key, value)];
    Flags::command().try_get_matches_from(arguments).map(|_| ()).map_err(|error| {
        let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        one_line(&why)
    })
}

/// A file's settings, each checked by itself.
#[derive(Debug, Default)]
struct Settings(Vec<(String, Vec<String>)>);

impl Settings {
    fn of(path: &Path, text: &str) -> Result<Self, Failure> {
        let blame = |at: usize, why: &str| {
            let (line, column) = position(text, at);
            Failure::configuration(format!("{}:{line}:{column}: {why}", path.display()))
        };
        let table = DeTable::parse(text).map_err(|error| {
            blame(error.span().map_or(0, |span| span.start), &one_line(error.message()))
        })?;
        let mut settings = Vec::new();
        for (key, value) in table.get_ref() {
            let list_allowed = known(key.get_ref()).map_err(|why| blame(key.span().start, &why))?;
            let values = scalars(value.get_ref(), list_allowed)
                .map_err(|why| blame(value.span().start, &format!("{}: {why}", key.get_ref())))?;
            for text in &values {
                check(key.get_ref(), text).map_err(|why| {
                    blame(value.span().start, &format!("{}: {why}", key.get_ref()))
                })?;
            }
            settings.push((key.get_ref().to_string(), values));
        }
        Ok(Self(settings))
    }

    fn values(&self, key: &str) -> &[String] {
        self.0.iter().find(|(name, _)| name == key).map_or(&[], |(_, values)| values)
    }
}

/// The text of a configuration file.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    let blame = |why: &dyn std::fmt::Display| {
        Failure::configuration(format!(
            "cannot read the configuration {}: {why}; give --config a TOML file this user can read",
            path.display()
        ))
    };
    let file = File::open(path).map_err(|error| blame(&error))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| blame(&error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(blame(&"it is longer than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| blame(&"it is not UTF-8"))
}

/// Whether `key` is a setting, and if so, whether it takes a list.
fn known(key: &str) -> Result<bool, String> {
    let command = Flags::command();
    let argument = command.get_arguments().find(|argument| key_of(argument) == Some(key));
    if let Some(argument) = argument {
        return Ok(matches!(argument.get_action(), ArgAction::Append));
    }
    let mut why = format!("unknown key {key:?}");
    // The parser of flags knows what may have been meant.
    let meant = Flags::command()
        .try_get_matches_from([OsString::from("ringwire"), spelled(key, "")])
        .err()
        .and_then(|error| match error.get(ContextKind::SuggestedArg) {
            Some(ContextValue::String(flag)) => Some(flag.trim_start_matches('-').to_owned()),
            _ => None,
        });
    let added = match meant {
        Some(flag) => write!(why, "; {flag:?} is one"),
        None => write!(why, "; keys are the flags of ringwire --help without their dashes"),
    };
    debug_assert!(added.is_ok(), "a String takes all");
    Err(why)
}

fn scalars(value: &DeValue<'_>, list_allowed: bool) -> Result<Vec<String>, String> {
    match value {
        DeValue::String(text) => Ok(vec![text.to_string()]),
        DeValue::Integer(number) if number.radix() == 10 => Ok(vec![number.as_str().to_owned()]),
        DeValue::Integer(_) => Err("write the number in decimal".to_owned()),
        DeValue::Array(items) if list_allowed => {
            let mut values = Vec::new();
            for item in items {
                values.extend(scalars(item.get_ref(), false)?);
            }
            Ok(values)
        }
        DeValue::Array(_) => Err("takes one value, not a list".to_owned()),
        other => Err(format!("takes a string or a number, not a {}", other.type_str())),
    }
}

/// Line and column, from 1, of the byte at `at`; the column counts characters.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn one_line(text: &str) -> String {
    let text = text.trim().trim_start_matches("error: ");
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
}
