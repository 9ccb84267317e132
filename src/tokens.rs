//! Who may publish: the bearer tokens of a file, one a line.
//!
//! Not here: which requests need one (`worker::request`). Invariants: no token is ever shown, by
//! whatever is written about this; how long a comparison takes says nothing of a token's bytes;
//! a file that cannot be used changes nothing.

use std::fmt;
use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use crate::failure::Failure;

/// A file longer than this is not one of tokens.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Bytes of one token.
const TOKEN_BYTES_MAX: usize = 1024;

/// The tokens, and where they are read from.
pub struct Tokens {
    path: PathBuf,
    list: RwLock<Vec<Box<[u8]>>>,
}

impl Tokens {
    /// Reads the tokens of a file.
    ///
    /// # Errors
    /// What is wrong with the file, without a word of what is in it.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let list = RwLock::new(read_list(path)?);
        Ok(Self { path: path.to_owned(), list })
    }

    /// Reads the file again, and says how many tokens there are now.
    ///
    /// # Errors
    /// What is wrong with the file; the tokens stay as they were.
    pub fn reload(&self) -> Result<usize, Failure> {
        let list = read_list(&self.path)?;
        let count = list.len();
        *self.list.write().unwrap_or_else(PoisonError::into_inner) = list;
        Ok(count)
    }

    /// Whether the value of an `Authorization` header has one of them.
    #[must_use]
    pub fn admit(&self, authorization: &[u8]) -> bool {
        //= https://www.rfc-editor.org/rfc/rfc9110#section-11.1
        //# It uses a case-insensitive token to identify the authentication scheme
        let Some((scheme, given)) = authorization.split_at_checked(7) else { return false };
        if !scheme.eq_ignore_ascii_case(b"Bearer ") {
            return false;
        }
        let given = given.trim_ascii_start();
        // No token is so long; each of them would be gone through for every byte of it.
        if given.len() > TOKEN_BYTES_MAX {
            return false;
        }
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        // All of them are looked at, whichever it is.
        list.iter().fold(false, |found, token| found | is_same(token, given))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Two are the same if they come from the same file.
impl PartialEq for Tokens {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for Tokens {}

/// Compares without stopping at the first difference: only the lengths show in the time it takes.
fn is_same(token: &[u8], given: &[u8]) -> bool {
    let mut difference = usize::from(token.len() != given.len());
    for (at, byte) in given.iter().enumerate() {
        let other = token[at % token.len()];
        difference |= black_box(usize::from(byte ^ other));
    }
    black_box(difference) == 0
}

fn read_list(path: &Path) -> Result<Vec<Box<[u8]>>, Failure> {
    let blame = |why: &dyn fmt::Display| {
        let path = path.display();
        Failure::configuration(format!(
            "cannot use the tokens of {path}: {why}; give --publish-token a file with one token a \
             line"
        ))
    };
    let file = File::open(path).map_err(|error| blame(&error))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| blame(&error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(blame(&"it is longer than 1 MiB"));
    }
    let mut list = Vec::new();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let token = line.trim_ascii();
        if token.is_empty() || token.starts_with(b"#") {
            continue;
        }
        if !is_token(token) {
            let what = "is not a token (1 to 1024 letters, digits and -._~+/=)";
            return Err(blame(&format_args!("line {} {what}", index + 1)));
        }
        list.push(token.into());
    }
    if list.is_empty() {
        return Err(blame(&"it has none"));
    }
    Ok(list)
}

/// RFC 6750 section 2.1: `b64token`.
fn is_token(token: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    token.len() <= TOKEN_BYTES_MAX && token.iter().all(is_plain) && token[0] != b'='
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::Tokens;

    /// A file that goes when the test does.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, text: &[u8]) -> Self {
            let name = format!("ringwire-tokens-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::write(&path, text).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _gone = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn any_token_of_the_file_is_admitted_and_nothing_else() {
        let file = Scratch::new("any", b"# ours\nabc\n\n  d.e-f_/+~==  \r\nlonger-than-abc\n");
        let tokens = Tokens::read(&file.0).unwrap();
        for good in ["Bearer abc", "bearer abc", "BEARER  abc", "Bearer d.e-f_/+~=="] {
            assert!(tokens.admit(good.as_bytes()), "{good:?}");
        }
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer ab",
            "Bearer abcd",
            "Bearer abcabc",
            "Bearer Abc",
            "Bearer abd",
            "abc",
            "Basic abc",
            "Bearer\tabc",
            "Bearer abc,",
            "Bearer # ours",
            "Bearer longer-than-ab",
        ] {
            assert!(!tokens.admit(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn a_file_that_is_read_again_replaces_its_tokens_or_changes_nothing() {
        let file = Scratch::new("again", b"old\n");
        let tokens = Tokens::read(&file.0).unwrap();
        fs::write(&file.0, "new\nother\n").unwrap();
        assert!(tokens.admit(b"Bearer old"));
        assert_eq!(tokens.reload(), Ok(2));
        assert!(tokens.admit(b"Bearer new") && !tokens.admit(b"Bearer old"));
        fs::write(&file.0, "").unwrap();
        assert!(tokens.reload().is_err());
        assert!(tokens.admit(b"Bearer other"));
    }

    #[test]
    fn nothing_that_is_said_has_a_token_in_it() {
        let file = Scratch::new("said", b"good\nsecr t\n");
        let failure = Tokens::read(&file.0).unwrap_err();
        assert_eq!(failure.code, 78);
        assert!(failure.line.contains("line 2 is not a token"), "{failure}");
        assert!(!failure.line.contains("secr"), "{failure}");
        let file = Scratch::new("debug", b"secret\n");
        let shown = format!("{:?}", Tokens::read(&file.0).unwrap());
        assert!(!shown.contains("secret"), "{shown}");
        assert!(Tokens::read(&file.0.with_extension("absent")).is_err());
        let file = Scratch::new("none", b"\n# nothing\n");
        assert!(Tokens::read(&file.0).unwrap_err().line.contains("it has none"));
    }
}
