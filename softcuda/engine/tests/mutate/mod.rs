//! Changes to a text of words and lines, as a proptest strategy: what shrinks is the list of changes.

use proptest::prelude::*;
use proptest::sample::Index;

/// One change. A place is an [`Index`] among the words or lines of the text as it then is.
#[derive(Clone, Debug)]
pub enum Change {
    DeleteWord(Index),
    DuplicateWord(Index),
    SwapWords(Index, Index),
    /// A word becomes a copy of another.
    CopyWord(Index, Index),
    /// A number becomes another.
    Number(Index, &'static str),
    DeleteLine(Index),
    DuplicateLine(Index),
    SwapLines(Index, Index),
    Truncate(Index),
    /// A byte becomes another.
    Byte(Index, u8),
}

const NUMBERS: [&str; 14] = [
    "0",
    "1",
    "-1",
    "3",
    "31",
    "32",
    "255",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "99999999999999999999999999",
    "0x",
];

pub fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        at().prop_map(Change::DeleteWord),
        at().prop_map(Change::DuplicateWord),
        (at(), at()).prop_map(|(a, b)| Change::SwapWords(a, b)),
        (at(), at()).prop_map(|(a, b)| Change::CopyWord(a, b)),
        (at(), proptest::sample::select(&NUMBERS[..])).prop_map(|(a, n)| Change::Number(a, n)),
        at().prop_map(Change::DeleteLine),
        at().prop_map(Change::DuplicateLine),
        (at(), at()).prop_map(|(a, b)| Change::SwapLines(a, b)),
        at().prop_map(Change::Truncate),
        (at(), any::<u8>()).prop_map(|(a, byte)| Change::Byte(a, byte)),
    ]
}

/// Runs of letters and digits, single other characters; together the text.
fn words(text: &str) -> Vec<&str> {
    let mut list = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let one = |c: char| c.is_alphanumeric() || c == '_';
        let end = if one(first) { rest.find(|c| !one(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
        list.push(&rest[..end]);
        rest = &rest[end..];
    }
    list
}

impl Change {
    pub fn apply(&self, text: &str) -> String {
        let (mut words, mut lines) = (words(text), text.split_inclusive('\n').collect::<Vec<_>>());
        let (w, l) = (words.len(), lines.len());
        if words.is_empty() {
            return String::new();
        }
        match self {
            Change::DeleteWord(a) => drop(words.remove(a.index(w))),
            Change::DuplicateWord(a) => {
                let a = a.index(w);
                words.insert(a, words[a]);
            }
            Change::SwapWords(a, b) => words.swap(a.index(w), b.index(w)),
            Change::CopyWord(a, b) => {
                let (a, b) = (a.index(w), b.index(w));
                words[a] = words[b];
            }
            Change::Number(a, number) => {
                let digit = |w: &&&str| w.starts_with(|c: char| c.is_ascii_digit());
                let count = words.iter().filter(digit).count();
                let n = if count == 0 { 0 } else { a.index(count) };
                if let Some(at) = (0..w).filter(|&k| digit(&&words[k])).nth(n) {
                    words[at] = number;
                }
            }
            Change::Truncate(a) => words.truncate(a.index(w)),
            Change::Byte(a, byte) => {
                let mut bytes = text.as_bytes().to_vec();
                let at = a.index(bytes.len());
                bytes[at] = *byte;
                return String::from_utf8_lossy(&bytes).into_owned();
            }
            Change::DeleteLine(a) => {
                lines.remove(a.index(l));
                return lines.concat();
            }
            Change::DuplicateLine(a) => {
                let a = a.index(l);
                lines.insert(a, lines[a]);
                return lines.concat();
            }
            Change::SwapLines(a, b) => {
                lines.swap(a.index(l), b.index(l));
                return lines.concat();
            }
        }
        words.concat()
    }
}
