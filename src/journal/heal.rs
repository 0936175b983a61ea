//! Healing: after a failed write or sync nothing goes to that segment any more. A snapshot of everything that was taken, and a new
//! segment whose first records prove that the disk takes them, put the journal on its feet again.
//!
//! What is lost with the old segment is in the snapshot, which therefore stands on its own (see `snapshot`). Until the new segment is
//! synced nobody is told that anything is durable.

use super::record::{KIND_HEAL, Link, encode, encode_segment_head};
use super::recover::{segment_id, wall_now};
use super::segment::Medium;
use super::snapshot::Upto;
use super::thread::Worker;
use super::write::{Progress, Rotation};
use super::{Entry, FailureKind, JournalFailure, Urgency, boot_id, files, reserve, snapshot};
use crate::ids::Seq;

impl Worker {
    /// Gives the segment up and tells everybody. What was taken and is not durable is cut off, since nobody may see it who was not told
    /// of it; the snapshot that heals will have it.
    pub(super) fn poison(&mut self, failure: JournalFailure) {
        self.poisoned = true;
        self.unsynced_since = None;
        match failure.kind {
            // What cannot be cut now is covered by that snapshot too.
            FailureKind::DiskFull | FailureKind::Io => drop(self.medium.cut(self.synced_length)),
            FailureKind::Tampered | FailureKind::Ended => {}
        }
        self.refuse_more(failure.clone());
        (self.on_progress)(Progress::Failed(failure));
    }

    /// Begins a new segment after a snapshot of everything that was taken, or says why it cannot.
    pub(super) fn heal(&mut self, lines: &[String]) {
        let healed = self.try_to_heal(lines);
        match healed {
            Ok(seq) => {
                self.shared.progress.notify_all();
                (self.on_progress)(Progress::Healed { upto: seq, reserve_spent: self.reserve_spent });
            }
            Err(failure) => {
                self.shared.lock().failure = Some(failure.clone());
                (self.on_progress)(Progress::HealFailed(failure));
            }
        }
    }

    fn try_to_heal(&mut self, lines: &[String]) -> Result<Seq, JournalFailure> {
        // What failed may have been deleted since, and what is begun anew would hide that. How long it is nobody knows: the cut may have failed.
        self.check_length(None)?;
        // A number that an earlier try used is used again: its files are replaced, each at once.
        let number = self.number + 1;
        let (last, failure) = {
            let state = self.shared.lock();
            (state.last, state.failure.clone())
        };
        if failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::DiskFull) {
            self.reserve_spent |= reserve::free(&self.shared.folder);
        }
        let place = self.shared.folder.join(files::snapshot_name(number));
        snapshot::write_aside(&place, lines, Upto::Healing(last))
            .and_then(|temporary| files::put_in_place(&temporary, &place))
            .map_err(|error| JournalFailure::new("cannot write the snapshot", &place, error))?;
        let path = self.shared.folder.join(files::segment_name(number));
        let failed = |doing| {
            let path = path.clone();
            move |error| JournalFailure::new(doing, &path, error)
        };
        let mut head = Vec::new();
        let first = encode_segment_head(&mut head, last, &segment_id(), Some(&files::snapshot_name(number)));
        let (proof, link) = self.proof(first, failure.as_ref());
        let mut medium = (self.make)(&path, &head).map_err(failed("cannot make"))?;
        // Making a file proves little: only what is appended and synced as all later records are proves that they can be.
        write_all(&mut *medium, &proof).and_then(|()| medium.sync()).map_err(failed("cannot sync"))?;
        self.medium = medium;
        self.length = (head.len() + proof.len()) as u64;
        self.take_up(number, last, first, link);
        Ok(Seq(link.seq))
    }

    /// The record that says what happened, as the second of its segment.
    fn proof(&self, first: Link, failure: Option<&JournalFailure>) -> (Vec<u8>, Link) {
        let facts = serde_json::json!({
            "gave_up": files::segment_name(self.number),
            "durable": self.synced,
            "reason": failure.map(ToString::to_string),
        });
        let data = serde_json::value::to_raw_value(&facts).ok();
        let entry =
            Entry { kind: KIND_HEAL, run: None, node: None, attempt: None, data: data.as_deref(), at: wall_now(), urgency: Urgency::Now };
        let mut line = Vec::new();
        // Only names longer than a line are refused, and there is none; without the record the sync alone has to do.
        let link = encode(&mut line, first, boot_id(), &entry).map_or(first, |encoded| encoded.link);
        (line, link)
    }

    /// Everything is durable: records are taken again.
    fn take_up(&mut self, number: u32, snapshot: Link, first: Link, last: Link) {
        self.poisoned = false;
        self.number = number;
        self.synced_length = self.length;
        self.written = last.seq;
        self.synced = last.seq;
        self.retained.segments.retain(|(segment, _)| *segment < number);
        self.retained.segments.push((number, first.seq));
        let mut state = self.shared.lock();
        state.last = last;
        state.synced = last.seq;
        state.number = number;
        state.failure = None;
        state.heal_lines = None;
        state.since_snapshot = (0, 0);
        drop(state);
        self.prune(&Rotation { number, upto: snapshot.seq });
    }
}

fn write_all(medium: &mut dyn Medium, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match medium.write(bytes) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
