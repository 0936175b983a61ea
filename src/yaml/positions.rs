//! From positions in characters, which the YAML parser counts, to positions in bytes, which spans count.

/// One remembered position for this many characters: a few instructions to look up, a sixteenth of the text in memory at most.
const STEP: usize = 64;

/// The map of one text. Free for ASCII.
pub(super) struct Positions<'t> {
    text: &'t str,
    /// Byte position of every [`STEP`]th character; empty where characters are bytes.
    marks: Vec<usize>,
}

impl<'t> Positions<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let marks = if text.is_ascii() { Vec::new() } else { text.char_indices().step_by(STEP).map(|(at, _)| at).collect() };
        Self { text, marks }
    }

    /// The byte position of a character; the text's end for one past it.
    pub(super) fn byte(&self, character: usize) -> usize {
        if self.marks.is_empty() {
            return character.min(self.text.len());
        }
        let Some(start) = self.marks.get(character / STEP) else { return self.text.len() };
        self.text[*start..].char_indices().nth(character % STEP).map_or(self.text.len(), |(at, _)| start + at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_is_found() {
        let text = "aä€😀\r\n".repeat(100);
        let positions = Positions::new(&text);
        for (number, (at, _)) in text.char_indices().enumerate() {
            assert_eq!(positions.byte(number), at);
        }
        assert_eq!(positions.byte(text.chars().count()), text.len());
        assert_eq!(positions.byte(1_000_000), text.len());
        assert_eq!(Positions::new("abc").byte(2), 2);
    }
}
