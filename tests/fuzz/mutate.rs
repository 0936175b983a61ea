//! Inputs out of other inputs: flipped, cut, repeated, crossed, and sprinkled with words that mean something to the reader.

use crate::dice::Dice;

/// Numbers at which readers go wrong.
const NUMBERS: [&str; 14] = [
    "0",
    "-1",
    "1",
    "255",
    "256",
    "65536",
    "2147483647",
    "4294967296",
    "9223372036854775807",
    "18446744073709551616",
    "1e400",
    "-0.0",
    "NaN",
    "0x10",
];

/// Bytes that structure texts.
const BYTES: &[u8] = b"\0\n\r\t \"'\\/{}[]:,.-#&*!|>%?~=;\x1b\x7f\x80\xbf\xc0\xff";

/// Makes an input.
pub(crate) fn mutated(pool: &[Vec<u8>], words: &[&str], dice: &mut Dice) -> Vec<u8> {
    let mut input = dice.one_of(pool).cloned().unwrap_or_default();
    for _ in 0..=dice.below(6) {
        change(&mut input, pool, words, dice);
    }
    input
}

fn change(input: &mut Vec<u8>, pool: &[Vec<u8>], words: &[&str], dice: &mut Dice) {
    let at = dice.below(input.len() + 1);
    match dice.below(11) {
        0 if at < input.len() => input[at] ^= 1 << dice.below(8),
        1 if at < input.len() => input[at] = BYTES[dice.below(BYTES.len())],
        2 => input.insert(at, BYTES[dice.below(BYTES.len())]),
        3 => input.truncate(at),
        4 => drop(input.drain(some_range(input, at, dice))),
        5 => {
            let part = input[some_range(input, at, dice)].to_vec();
            let times = 1 + dice.below(if part.len() < 8 { 200 } else { 4 });
            insert(input, at, &part.repeat(times));
        }
        6 => {
            let other = dice.one_of(pool).cloned().unwrap_or_default();
            let from = dice.below(other.len() + 1);
            let part = other[some_range(&other, from, dice)].to_vec();
            insert(input, at, &part);
        }
        7 => {
            // The head of one and the tail of another.
            let other = dice.one_of(pool).cloned().unwrap_or_default();
            input.truncate(at);
            input.extend_from_slice(&other[dice.below(other.len() + 1)..]);
        }
        8 => replace_number(input, at, dice),
        _ => {
            let word = dice.one_of(words).copied().unwrap_or_default();
            let end = if dice.below(2) == 0 { at } else { some_range(input, at, dice).end };
            input.splice(at..end, word.bytes());
        }
    }
}

fn some_range(input: &[u8], at: usize, dice: &mut Dice) -> std::ops::Range<usize> {
    let most = if dice.below(4) == 0 { input.len() } else { 24 };
    at..(at + dice.below(most + 1)).min(input.len())
}

fn insert(input: &mut Vec<u8>, at: usize, part: &[u8]) {
    input.splice(at..at, part.iter().copied());
}

fn replace_number(input: &mut Vec<u8>, at: usize, dice: &mut Dice) {
    let Some(from) = input[at..].iter().position(u8::is_ascii_digit).map(|from| at + from) else { return };
    let length = input[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    input.splice(from..from + length, NUMBERS[dice.below(NUMBERS.len())].bytes());
}
