//! Rows that messages take values from, read whole from a CSV or JSON lines file.
//!
//! Not here: which message takes which row. Invariants: a feed has at least one row and one column;
//! every row has every column; what it holds in memory is bounded and known.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::outcome::Failure;

/// What a feed may take of memory.
const FEED_BYTES_MAX: usize = 256 << 20;

/// Columns at most.
const COLUMNS_MAX: usize = 1_000;

/// Which row a message takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FeedOrder {
    /// All connections together go through the rows in turn, and begin again at the end.
    #[default]
    Sequential,
    /// Any row, decided by the seed, the connection and the message's number.
    Random,
    /// Each connection has a row to itself, the same for all that it says.
    Unique,
}

/// The rows of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Rows", into = "Rows")]
pub struct Feed {
    columns: Vec<String>,
    /// All values, one after the other.
    text: Vec<u8>,
    /// Where each value ends, row by row.
    ends: Vec<u32>,
    /// By column: its longest value.
    bytes_max: Vec<usize>,
}

/// A feed on its way to an agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Rows {
    columns: Vec<String>,
    values: Vec<String>,
}

impl TryFrom<Rows> for Feed {
    type Error = String;

    fn try_from(rows: Rows) -> Result<Self, String> {
        let mut feed = Self::empty(rows.columns)?;
        rows.values.iter().try_for_each(|value| feed.push(value))?;
        feed.finish()
    }
}

impl From<Feed> for Rows {
    fn from(feed: Feed) -> Self {
        let value = |index| String::from_utf8_lossy(feed.value(0, index)).into_owned();
        let values = (0..feed.ends.len()).map(value).collect();
        Self { columns: feed.columns, values }
    }
}

impl Feed {
    /// Reads a `.csv` file, whose first line names the columns, or a `.jsonl` file of objects.
    ///
    /// # Errors
    /// Code 104 with the file, the line and what is wrong there.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let wrong =
            |what: String| Failure::configuration(format!("--feed {}: {what}", path.display()));
        let extension = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        let parse = match extension {
            "csv" => Self::of_csv,
            "jsonl" | "ndjson" => Self::of_json_lines,
            _ => return Err(wrong("a feed is a .csv or a .jsonl file".to_owned())),
        };
        let size = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
        if size > FEED_BYTES_MAX as u64 {
            return Err(wrong(format!("{size} bytes are more than the 256m a feed may have")));
        }
        let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        parse(&bytes).map_err(wrong)
    }

    /// The feed that a CSV text is.
    pub(crate) fn of_csv(bytes: &[u8]) -> Result<Self, String> {
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(bytes);
        let columns = reader.headers().map_err(|error| error.to_string())?;
        let mut feed = Self::empty(columns.iter().map(str::to_owned).collect())?;
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(|error| error.to_string())? {
            for value in &record {
                feed.push(value)?;
            }
        }
        feed.finish()
    }

    /// The feed that lines of JSON objects are; the first says which columns there are.
    pub(crate) fn of_json_lines(bytes: &[u8]) -> Result<Self, String> {
        let mut feed: Option<Self> = None;
        for (number, line) in (1_usize..).zip(bytes.split(|&byte| byte == b'\n')) {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let value: Value =
                serde_json::from_slice(line).map_err(|error| format!("line {number}: {error}"))?;
            let Value::Object(object) = value else {
                return Err(format!("line {number}: not an object, like {{\"user\":\"ann\"}}"));
            };
            let feed = match &mut feed {
                Some(feed) => feed,
                None => feed.insert(Self::empty(object.keys().cloned().collect())?),
            };
            for column in 0..feed.columns.len() {
                let name = &feed.columns[column];
                let value = object.get(name).ok_or_else(|| {
                    format!("line {number}: no `{name}`, which the first line has")
                })?;
                match value {
                    Value::String(text) => feed.push(text)?,
                    other => feed.push(&other.to_string())?,
                }
            }
        }
        feed.ok_or_else(|| "no rows".to_owned())?.finish()
    }

    fn empty(columns: Vec<String>) -> Result<Self, String> {
        if columns.is_empty() || columns.iter().any(String::is_empty) {
            return Err("every column needs a name in the first line".to_owned());
        }
        if columns.len() > COLUMNS_MAX {
            return Err(format!("more than {COLUMNS_MAX} columns"));
        }
        let mut sorted: Vec<_> = columns.iter().collect();
        sorted.sort();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("two columns are called `{}`", pair[0]));
        }
        let bytes_max = vec![0; columns.len()];
        Ok(Self { columns, text: Vec::new(), ends: Vec::new(), bytes_max })
    }

    fn push(&mut self, value: &str) -> Result<(), String> {
        self.text.extend_from_slice(value.as_bytes());
        let column = self.ends.len() % self.columns.len();
        self.bytes_max[column] = self.bytes_max[column].max(value.len());
        let end = u32::try_from(self.text.len()).map_err(|_| "too large".to_owned())?;
        self.ends.push(end);
        if self.bytes() > FEED_BYTES_MAX {
            return Err("its rows need more than the 256m of memory a feed may have".to_owned());
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Self, String> {
        if self.ends.is_empty() {
            return Err("no rows".to_owned());
        }
        if !self.ends.len().is_multiple_of(self.columns.len()) {
            return Err("the last row is not whole".to_owned());
        }
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
        Ok(self)
    }

    /// The names of the columns.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.ends.len() / self.columns.len()
    }

    /// What it takes of memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len() + self.ends.len() * size_of::<u32>()
    }

    /// The value at `row` and `column`; nothing beyond the last.
    pub(crate) fn value(&self, row: usize, column: usize) -> &[u8] {
        let index = row * self.columns.len() + column;
        let start = index.checked_sub(1).map_or(Some(0), |before| self.end(before));
        match (start, self.end(index)) {
            (Some(start), Some(end)) => &self.text[start..end],
            _ => &[],
        }
    }

    fn end(&self, index: usize) -> Option<usize> {
        self.ends.get(index).map(|&end| end as usize)
    }

    /// The longest value of a column.
    pub(crate) fn value_bytes_max(&self, column: usize) -> usize {
        self.bytes_max.get(column).copied().unwrap_or(0)
    }

    /// The first row, counted from 1, whose value in `column` is not what `is_good` wants.
    pub(crate) fn first_bad(
        &self,
        column: usize,
        is_good: impl Fn(&[u8]) -> bool,
    ) -> Option<usize> {
        (0..self.rows()).find(|&row| !is_good(self.value(row, column))).map(|row| row + 1)
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers of the test's own making")]
mod tests {
    use super::Feed;
    use crate::tests::Random;

    fn row(feed: &Feed, row: usize) -> Vec<String> {
        let text = |column| String::from_utf8_lossy(feed.value(row, column)).into_owned();
        (0..feed.columns().len()).map(text).collect()
    }

    #[test]
    fn quoted_values_and_line_ends_are_those_of_csv() {
        let text = b"\xEF\xBB\xBFuser, room\r\nann,\"a, \"\"b\"\"\"\r\nbob,\r\n";
        let feed = Feed::of_csv(text).unwrap();
        assert_eq!(feed.columns(), ["user", "room"]);
        assert_eq!((feed.rows(), row(&feed, 0)), (2, vec!["ann".into(), "a, \"b\"".into()]));
        assert_eq!(row(&feed, 1), ["bob", ""]);
        assert_eq!((feed.value_bytes_max(0), feed.value_bytes_max(1)), (3, 6));
        assert_eq!(feed.value(2, 0), b"");
        assert_eq!(feed.first_bad(1, |value| !value.is_empty()), Some(2));
    }

    #[test]
    fn lines_of_json_keep_numbers_and_nested_values_as_they_would_be_written() {
        let text = b"{\"b\":1.5,\"a\":\"x\\\"y\"}\n\n{\"a\":[1],\"b\":null,\"more\":2}\n";
        let feed = Feed::of_json_lines(text).unwrap();
        assert_eq!(feed.columns(), ["a", "b"]);
        assert_eq!(
            (row(&feed, 0), row(&feed, 1)),
            (vec!["x\"y".to_owned(), "1.5".to_owned()], vec!["[1]".to_owned(), "null".to_owned()],)
        );
    }

    #[test]
    fn a_bad_file_is_refused_with_its_line() {
        for (text, expected) in [
            (&b""[..], "name"),
            (b"a,b\n", "no rows"),
            (b"a,a\n1,2\n", "two columns are called `a`"),
            (b"a,\n1,2\n", "name"),
            (b"a,b\n1,2\n3\n", "line: 3"),
        ] {
            let error = Feed::of_csv(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        for (text, expected) in [
            (&b"\n\n"[..], "no rows"),
            (b"{}\n", "name"),
            (b"{\"a\":1}\n[1]\n", "line 2: not an object"),
            (b"{\"a\":1}\n{\"b\":1}\n", "line 2: no `a`"),
            (b"{\"a\":1}\n{\"a\":\n", "line 2: "),
        ] {
            let error = Feed::of_json_lines(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn any_bytes_are_a_feed_or_an_error() {
        let mut random = Random::seeded();
        let letters = b"a,b\"\n\r{}:1[\xff\x00 ".as_slice();
        for _ in 0..5_000 {
            let len = random.below(40);
            let text: Vec<u8> =
                (0..len).map(|_| letters[random.below(letters.len() as u64) as usize]).collect();
            for feed in [Feed::of_csv(&text), Feed::of_json_lines(&text)].into_iter().flatten() {
                let last = feed.rows() - 1;
                assert_eq!(row(&feed, last).len(), feed.columns().len());
            }
        }
    }
}
