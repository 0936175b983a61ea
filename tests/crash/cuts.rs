//! A real journal, cut at every byte and with every bit flipped: what may be trimmed is trimmed, and everything else is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use prismq::journal::{History, OpenError, Options, open, open_read_only};

use crate::options::Cuts;
use crate::plan::Pipeline;
use crate::process::Running;
use crate::space::Space;

/// Records that the journal has at least.
const RECORDS_MIN: usize = 50;
/// Last records of which every cut is also mended, not only judged.
const MENDED: usize = 3;
/// Of `some`, every so manieth.
const SOME: usize = 23;

/// What was tried and what was wrong.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    pub(crate) cuts: usize,
    pub(crate) mended: usize,
    pub(crate) flips: usize,
    pub(crate) torn_by_flip: usize,
    pub(crate) wrong: Vec<String>,
}

/// Makes a journal by the program, and tries everything on copies.
pub(crate) fn try_all(which: Cuts, folder: &Path) -> Result<Verdicts, String> {
    let original = make(&folder.join("made"))?;
    let ends: Vec<usize> = original.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    let mut verdicts = Verdicts { records: ends.len(), bytes: original.len(), ..Verdicts::default() };
    if ends.len() < RECORDS_MIN {
        return Err(format!("a journal of {} records is too short to try on", ends.len()));
    }
    let bench = Bench::make(folder.join("copy"))?;
    let step = if which == Cuts::All { 1 } else { SOME };
    for at in (0..original.len()).step_by(step) {
        verdicts.cuts += 1;
        verdicts.wrong.extend(bench.judge_cut(&original, &ends, at)?);
    }
    let last = ends[ends.len() - 1 - MENDED];
    for at in (last..original.len()).step_by(step) {
        verdicts.mended += 1;
        verdicts.wrong.extend(bench.mend_cut(&original, &ends, at)?);
    }
    let bits = original.len() * 8;
    // The last line end always: its eight bits are the known exception.
    for bit in (0..bits - 8).step_by(step).chain(bits - 8..bits) {
        verdicts.flips += 1;
        match bench.flip(&original, bit)? {
            Verdict::Refused => {}
            Verdict::Torn if bit >= bits - 8 => verdicts.torn_by_flip += 1,
            Verdict::Torn => verdicts.wrong.push(format!("bit {bit} flipped: taken for a torn end")),
            Verdict::Taken => verdicts.wrong.push(format!("bit {bit} flipped: not noticed")),
        }
    }
    for record in (0..ends.len()).step_by(step) {
        verdicts.wrong.extend(bench.refuses(&original, ends[record] - 2)?);
    }
    Ok(verdicts)
}

/// Runs pipelines until the journal is long enough; gives its bytes.
fn make(folder: &Path) -> Result<Vec<u8>, String> {
    let space = Space::make(folder.to_owned()).map_err(|error| error.to_string())?;
    let mut dice = crate::dice::Dice::new(7, 7);
    for number in 0..50 {
        let pipeline = Pipeline::draw(&mut dice, &format!("p{number}"), false);
        if pipeline.endless {
            continue;
        }
        let file = space.add(&pipeline).map_err(|error| error.to_string())?;
        let mut command = Command::new(crate::space::program());
        command.args(["run", &file]);
        Running::start(space.prepare(command), None).end();
        let bytes = fs::read(space.segment()).map_err(|error| error.to_string())?;
        if bytes.iter().filter(|byte| **byte == b'\n').count() >= RECORDS_MIN {
            return Ok(bytes);
        }
    }
    Err("no journal was made".to_owned())
}

enum Verdict {
    Taken,
    Torn,
    Refused,
}

/// A folder with one segment in it, written again for each try. In memory where that is possible: a hundred thousand files are written.
struct Bench {
    folder: PathBuf,
}

impl Bench {
    fn make(folder: PathBuf) -> Result<Self, String> {
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        Ok(Self { folder })
    }

    fn segment(&self) -> PathBuf {
        self.folder.join("000001.jsonl")
    }

    fn put(&self, bytes: &[u8]) -> Result<(), String> {
        fs::write(self.segment(), bytes).map_err(|error| error.to_string())
    }

    fn look(&self, bytes: &[u8]) -> Result<History, String> {
        self.put(bytes)?;
        open_read_only(&self.folder).map_err(|error| error.to_string())
    }

    /// What is left after a cut is whole, and the rest of the line is torn.
    fn judge_cut(&self, original: &[u8], ends: &[usize], at: usize) -> Result<Option<String>, String> {
        let history = self.look(&original[..at])?;
        let whole = ends.iter().copied().filter(|end| *end <= at).max().unwrap_or(0);
        let torn = history.trimmed().map(|torn| (torn.offset, torn.bytes));
        let wanted = (whole < at).then_some((whole as u64, (at - whole) as u64));
        if let Some(damage) = history.damage() {
            return Ok(Some(format!("cut at {at}: taken for damage: {damage}")));
        }
        Ok((torn != wanted).then(|| format!("cut at {at}: torn {torn:?}, not {wanted:?}")))
    }

    /// Opening it for writing cuts it back, keeps what was cut off, and goes on.
    fn mend_cut(&self, original: &[u8], ends: &[usize], at: usize) -> Result<Option<String>, String> {
        drop(fs::remove_dir_all(&self.folder));
        fs::create_dir_all(&self.folder).map_err(|error| error.to_string())?;
        self.put(&original[..at])?;
        let opened = match open(&self.folder, Options::new(|_| {})) {
            Ok(opened) => opened,
            Err(error) => return Ok(Some(format!("cut at {at}: refused: {error}"))),
        };
        let kept = opened.history.trimmed().and_then(|torn| torn.kept.clone());
        opened.writer.close().map_err(|error| error.to_string())?;
        let whole = ends.iter().copied().filter(|end| *end <= at).max().unwrap_or(0);
        let tail = kept.map(|kept| fs::read(kept).unwrap_or_default()).unwrap_or_default();
        let now = fs::read(self.segment()).map_err(|error| error.to_string())?;
        let again = open_read_only(&self.folder).map_err(|error| error.to_string())?;
        let is_right =
            tail == original[whole..at] && now.starts_with(&original[..whole]) && again.damage().is_none() && again.trimmed().is_none();
        Ok((!is_right).then(|| format!("cut at {at}: not mended")))
    }

    fn flip(&self, original: &[u8], bit: usize) -> Result<Verdict, String> {
        self.put(&flipped(original, bit / 8, bit % 8))?;
        Ok(match open_read_only(&self.folder) {
            // The number of the format itself was hit.
            Err(OpenError::NewerFormat { .. }) => Verdict::Refused,
            Err(error) => return Err(error.to_string()),
            Ok(history) if history.damage().is_some() => Verdict::Refused,
            Ok(history) if history.trimmed().is_some() => Verdict::Torn,
            Ok(_) => Verdict::Taken,
        })
    }

    /// Whoever wants to write is refused too, and not a byte is changed.
    fn refuses(&self, original: &[u8], at: usize) -> Result<Option<String>, String> {
        let bytes = flipped(original, at, 0);
        self.put(&bytes)?;
        let refused = matches!(open(&self.folder, Options::new(|_| {})), Err(OpenError::Damaged(_)));
        let now = fs::read(self.segment()).map_err(|error| error.to_string())?;
        Ok((!refused || now != bytes).then(|| format!("byte {at} flipped: refused {refused}, changed {}", now != bytes)))
    }
}

fn flipped(original: &[u8], byte: usize, bit: usize) -> Vec<u8> {
    let mut bytes = original.to_vec();
    bytes[byte] ^= 1 << bit;
    bytes
}
