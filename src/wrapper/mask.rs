//! Hides the values of secrets in what a module prints: each byte of one becomes a `*`.
//!
//! Best effort, and said so in `docs/secrets.md`: a value that was encoded, split by the module's own line breaks or shortened is not
//! known again. What is promised is that neither the size of a read nor a pause in the middle of a value makes a difference: what may be the
//! beginning of a value is held back until it is clear.

use memchr::memmem::Finder;

/// Shorter values are not looked for: they would turn half of an ordinary output into stars.
const SHORTEST: usize = 6;

/// What a byte of a value becomes.
const STAR: u8 = b'*';

/// The values that are looked for.
#[derive(Debug)]
pub(super) struct Patterns {
    finders: Vec<Finder<'static>>,
}

impl Patterns {
    /// `None`: there is nothing to look for. Of a value of several lines each line is looked for as well, since that is how programs print
    /// it.
    pub(super) fn new<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Option<Self> {
        let mut wanted: Vec<&[u8]> = Vec::new();
        for value in values {
            wanted.push(value);
            wanted.extend(value.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)));
        }
        wanted.retain(|value| value.len() >= SHORTEST);
        wanted.sort_unstable();
        wanted.dedup();
        let finders: Vec<_> = wanted.into_iter().map(|value| Finder::new(value).into_owned()).collect();
        if finders.is_empty() { None } else { Some(Self { finders }) }
    }

    /// Length of the longest end of `bytes` that may be the beginning of a value.
    fn open_end(&self, bytes: &[u8]) -> usize {
        let longest = |needle: &[u8]| {
            let most = bytes.len().min(needle.len() - 1);
            (1..=most).rev().find(|length| bytes.ends_with(&needle[..*length])).unwrap_or(0)
        };
        self.finders.iter().map(|finder| longest(finder.needle())).max().unwrap_or(0)
    }
}

/// One stream on its way through the mask.
#[derive(Debug, Default)]
pub(super) struct Mask {
    /// As it was written: what was held back, then what is new.
    clear: Vec<u8>,
    /// The same with stars.
    masked: Vec<u8>,
    /// So many bytes of both have been given out.
    given: usize,
}

impl Mask {
    /// Takes bytes; gives what can be shown of them and of what was held back.
    pub(super) fn pass(&mut self, patterns: &Patterns, bytes: &[u8]) -> &[u8] {
        self.clear.drain(..self.given);
        self.masked.drain(..self.given);
        self.clear.extend_from_slice(bytes);
        self.masked.extend_from_slice(bytes);
        for finder in &patterns.finders {
            let mut from = 0;
            // One by one, since a value may begin within itself.
            while let Some(at) = finder.find(&self.clear[from..]) {
                let start = from + at;
                self.masked[start..start + finder.needle().len()].fill(STAR);
                from = start + 1;
            }
        }
        self.given = self.clear.len() - patterns.open_end(&self.clear);
        &self.masked[..self.given]
    }

    /// What was held back, when nothing more comes.
    pub(super) fn rest(&self) -> &[u8] {
        &self.masked[self.given..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn through(patterns: &Patterns, chunks: &[&[u8]]) -> Vec<u8> {
        let mut mask = Mask::default();
        let mut out = Vec::new();
        for chunk in chunks {
            out.extend_from_slice(mask.pass(patterns, chunk));
        }
        out.extend_from_slice(mask.rest());
        out
    }

    fn patterns(values: &[&str]) -> Patterns {
        Patterns::new(values.iter().map(|value| value.as_bytes())).expect("there is a value")
    }

    #[test]
    fn a32_a_value_is_hidden_wherever_it_is_cut() {
        let patterns = patterns(&["s3cret-value"]);
        let text = b"key=s3cret-value s3cret-valu s3cret-values3cret-value\n";
        let expected = b"key=************ s3cret-valu ************************\n";
        assert_eq!(through(&patterns, &[text]), expected);
        for cut in 0..text.len() {
            assert_eq!(through(&patterns, &[&text[..cut], &text[cut..]]), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(through(&patterns, &bytes), expected);
    }

    #[test]
    fn what_cannot_be_a_value_is_not_held_back() {
        let patterns = patterns(&["s3cret-value"]);
        let mut mask = Mask::default();
        assert_eq!(mask.pass(&patterns, b"progress: 3 of 10\r"), b"progress: 3 of 10\r");
        assert_eq!(mask.pass(&patterns, b"less"), b"les");
        assert_eq!(mask.pass(&patterns, b"on"), b"son");
        assert_eq!(mask.rest(), b"");
    }

    #[test]
    fn short_values_and_lines_of_long_ones() {
        assert!(Patterns::new([b"12345".as_slice()]).is_none());
        assert!(Patterns::new([]).is_none());
        let key = patterns(&["-----BEGIN KEY-----\r\nabcdefgh\nxyz\n"]);
        assert_eq!(through(&key, &[b"[abcdefgh] xyz"]), b"[********] xyz");
    }

    #[test]
    fn a_value_that_overlaps_itself_or_another_one() {
        let patterns = patterns(&["abcabcabc", "cabcxyz"]);
        let text = b"abcabcabcabcxyz.";
        assert_eq!(through(&patterns, &[text]), b"***************.");
        for cut in 0..text.len() {
            assert_eq!(through(&patterns, &[&text[..cut], &text[cut..]]), b"***************.", "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(
            values in prop::collection::vec("[ab]{6,9}", 1..4),
            text in "[abc]{0,80}",
            cuts in prop::collection::vec(0usize..80, 0..12),
        ) {
            let patterns = Patterns::new(values.iter().map(|value| value.as_bytes())).expect("they are long enough");
            let whole = through(&patterns, &[text.as_bytes()]);
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= text.len()).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([text.len()]) {
                chunks.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            prop_assert_eq!(through(&patterns, &chunks), whole.clone());
            prop_assert_eq!(whole.len(), text.len());
            // By the plainest way there is: every byte of every occurrence.
            let mut plain = text.clone().into_bytes();
            for value in &values {
                for at in 0..text.len() {
                    if text[at..].starts_with(value.as_str()) {
                        plain[at..at + value.len()].fill(b'*');
                    }
                }
            }
            prop_assert_eq!(whole, plain);
        }
    }
}
