//! The nursery and the reports of its wrappers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use prismq::attempt::{ExitHow, Hatch, REPORT_BYTES, Report, ReportKind, StartRecord, StopAs, hand_over_homes};
use prismq::request::Leaks;
use rustix::process::Signal;

use super::{Attempt, FewProcesses, WRAPPER, lives, signal, skip};
use crate::support::until;

/// A nursery and its host's ends of the pipes.
struct Nursery {
    process: Child,
    orders: Option<UnixStream>,
    homes: Vec<PipeWriter>,
    reports: Option<PipeReader>,
}

impl Nursery {
    fn new() -> Self {
        let mut command = Command::new(WRAPPER);
        command.arg("--nursery");
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        let (reports, end) = std::io::pipe().expect("a pipe");
        let (orders, input) = UnixStream::pair().expect("two sockets");
        let process = command.stdin(OwnedFd::from(input)).stdout(end).spawn().expect("the nursery starts");
        let homes = hand_over_homes(&orders).expect("it is there");
        Self { process, orders: Some(orders), homes, reports: Some(reports) }
    }

    /// A wrapper for one attempt.
    fn hatch(&mut self, id: u64, attempt: &Attempt) {
        self.hatch_at(None, id, attempt);
    }

    /// One that may wait for another.
    fn hatch_at(&mut self, place: Option<usize>, id: u64, attempt: &Attempt) {
        let order = order(id, attempt, place);
        self.orders.as_mut().expect("it is open").write_all(&order).expect("it takes orders");
    }

    /// An order to the wrapper at a place.
    fn feed(&mut self, place: usize, id: u64, attempt: &Attempt) {
        self.homes[place].write_all(&order(id, attempt, None)).expect("there is room in its pipe");
    }

    fn report(&mut self) -> Report {
        let mut bytes = [0; REPORT_BYTES];
        self.reports.as_mut().expect("it is open").read_exact(&mut bytes).expect("a report");
        Report::decode(bytes).expect("a report that makes sense")
    }

    /// The wrappers that it has.
    fn children(&self) -> Vec<u32> {
        let pid = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("its children");
        children.split_ascii_whitespace().map(|child| child.parse().expect("a number")).collect()
    }

    /// Reports up to one of this kind, that one included.
    fn until(&mut self, kind: ReportKind) -> Vec<Report> {
        self.until_any(&[kind])
    }

    fn until_any(&mut self, kinds: &[ReportKind]) -> Vec<Report> {
        let mut all = vec![self.report()];
        while all.last().is_none_or(|report| !kinds.contains(&report.kind)) {
            all.push(self.report());
        }
        all
    }

    /// The host is done, or dead.
    fn close(&mut self) {
        self.homes.clear();
        self.orders = None;
        let ended = until(|| self.process.try_wait().expect("a child can be waited for"));
        assert_eq!(ended.and_then(|status| status.code()), Some(0), "the nursery goes with its host");
    }
}

fn order(id: u64, attempt: &Attempt, place: Option<usize>) -> Vec<u8> {
    attempt.spec.write(attempt.path(), false).expect("the spec is written");
    Hatch { id, folder: attempt.path().to_owned(), environment: attempt.environment() }.encode(place)
}

impl Drop for Nursery {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_short_life_is_reported_in_order() {
    let mut nursery = Nursery::new();
    let attempt = Attempt::shell("echo hi");
    nursery.hatch(7, &attempt);
    let reports = nursery.until(ReportKind::Ended);
    let kinds: Vec<_> = reports.iter().map(|report| report.kind).collect();
    assert_eq!(kinds, [ReportKind::Started, ReportKind::Vacated, ReportKind::Ended]);
    assert!(reports.iter().all(|report| report.id == 7));
    assert_eq!((attempt.ended().how, attempt.out().as_str()), (ExitHow::Code(0), "hi\n"));

    // Of one that fails the room is kept: it may be tried again.
    nursery.until(ReportKind::Gone);
    let failing = Attempt::shell("exit 3");
    nursery.hatch(9, &failing);
    let kinds: Vec<_> = nursery.until(ReportKind::Ended).iter().map(|report| report.kind).collect();
    assert_eq!((kinds, failing.ended().how), (vec![ReportKind::Started, ReportKind::Ended], ExitHow::Code(3)));

    nursery.until(ReportKind::Gone);
    nursery.hatch(8, &attempt);
    let refused: Vec<_> = nursery.until(ReportKind::Gone).iter().map(|report| (report.kind, report.id, report.value)).collect();
    assert_eq!(refused, [(ReportKind::Refused, 8, 0), (ReportKind::Gone, 8, 0)]);
    nursery.close();
}

/// A wrapper that has come home to the first place after a module that ended at once: its process. Where the machine is so busy that
/// `exit 0` is no short module, that is tried again.
fn at_home(nursery: &mut Nursery) -> u32 {
    for id in 0..50 {
        let attempt = Attempt::shell("exit 0");
        nursery.hatch_at(Some(0), id, &attempt);
        let said = nursery.until(ReportKind::Ended).pop().expect("a report");
        assert_eq!(said.id, id);
        match Report::place_of(said.value) {
            Some(0) => return StartRecord::read(attempt.path()).expect("a record").expect("it was started").wrapper.pid,
            Some(other) => panic!("its place is not {other}"),
            None => assert_eq!(nursery.until(ReportKind::Gone).pop().expect("a report").id, id),
        }
    }
    panic!("no wrapper came home");
}

#[test]
fn a_wrapper_that_comes_home_starts_from_nothing() {
    let mut nursery = Nursery::new();
    let wrapper = at_home(&mut nursery);
    let second = Attempt::shell("echo second >&2; exit 4");
    nursery.feed(0, 100, &second);
    assert!(nursery.until(ReportKind::Ended).iter().all(|report| report.id == 100));
    let record = second.ended();
    assert_eq!((record.how, second.out().as_str(), second.log("stderr.log").as_slice()), (ExitHow::Code(4), "", b"second\n".as_slice()));
    // What it used is its own: the first one is not counted again.
    assert!(record.peak_memory.is_some_and(|peak| peak.0 > 0) && record.leaked.is_empty() && record.signals.is_empty());
    assert_eq!(StartRecord::read(second.path()).expect("a record").expect("it was started").wrapper.pid, wrapper);
    nursery.close();
    assert!(until(|| (!lives(wrapper)).then_some(())).is_some(), "it goes with the nursery");
}

#[test]
fn f28_a_wrapper_that_came_home_hears_its_stop() {
    let mut nursery = Nursery::new();
    let wrapper = at_home(&mut nursery);
    let attempt = Attempt::of(&["ignore-stop"]);
    nursery.feed(0, 100, &attempt);
    attempt.says("ready");
    assert_eq!(attempt.alive().wrapper.pid, wrapper);
    attempt.stop(StopAs::Polite, 100);
    assert!(attempt.ended().escalated);
    attempt.nothing_is_left();
    // Whoever was stopped does not come home.
    let last = nursery.until(ReportKind::Gone).pop().expect("a report");
    assert_eq!((Report::place_of(last.value), lives(wrapper)), (Some(0), false));
}

#[test]
fn f39_a_wrapper_that_is_killed_at_home_costs_nobody_anything() {
    let mut nursery = Nursery::new();
    let first = at_home(&mut nursery);
    signal(first, Signal::KILL);
    // The order goes to a dead one. That is said, nobody has claimed the attempt, and a host sends for another wrapper.
    let attempt = Attempt::shell("exit 5");
    nursery.feed(0, 100, &attempt);
    let last = nursery.until(ReportKind::Gone).pop().expect("a report");
    assert_eq!((Report::place_of(last.value), attempt.at("claim").exists()), (Some(0), false));
    nursery.hatch(101, &attempt);
    nursery.until(ReportKind::Ended);
    assert_eq!(attempt.ended().how, ExitHow::Code(5));
    // And what the dead one did not take is not waiting for the next one at its place.
    let next = at_home(&mut nursery);
    let other = Attempt::shell("exit 6");
    nursery.feed(0, 200, &other);
    assert!(nursery.until(ReportKind::Ended).iter().all(|report| report.id == 200));
    assert_eq!(StartRecord::read(other.path()).expect("a record").expect("it was started").wrapper.pid, next);
    nursery.close();
}

#[test]
fn a_wrapper_that_is_sent_away_goes() {
    let mut nursery = Nursery::new();
    let wrapper = at_home(&mut nursery);
    nursery.homes[0].write_all(&[0; 4]).expect("there is room in its pipe");
    let last = nursery.until(ReportKind::Gone).pop().expect("a report");
    assert_eq!((Report::place_of(last.value), lives(wrapper)), (Some(0), false));
    nursery.close();
}

/// A host that dies has no time to say anything.
#[test]
fn f38_a_wrapper_at_home_goes_with_its_host() {
    let mut nursery = Nursery::new();
    let wrapper = at_home(&mut nursery);
    nursery.homes.clear();
    assert!(until(|| (!lives(wrapper)).then_some(())).is_some(), "with the end of its pipe");
    nursery.close();
}

#[test]
fn a_long_life_is_told_while_it_lasts() {
    let mut nursery = Nursery::new();
    let attempt = Attempt::shell("printf 12345; read line < \"$PRISMQ_ARTIFACTS/go\"");
    assert!(Command::new("mkfifo").arg(attempt.at("go")).status().expect("mkfifo").success());
    nursery.hatch(1, &attempt);
    let started = nursery.report();
    assert_eq!((started.kind, started.value), (ReportKind::Started, u64::from(attempt.alive().child.expect("it runs").pid)));
    let output = nursery.report();
    assert_eq!((output.kind, output.value), (ReportKind::Output, 5));
    assert_eq!(attempt.out(), "12345", "who is told finds it there");
    std::fs::write(attempt.at("go"), "\n").expect("it goes on");
    assert_eq!([nursery.report().kind, nursery.report().kind], [ReportKind::Vacated, ReportKind::Ended]);
}

/// Whoever is allowed to leave something behind still uses what it was given.
#[test]
fn an_attempt_that_leaves_processes_behind_does_not_say_that_they_are_gone() {
    let mut nursery = Nursery::new();
    let attempt = Attempt::of(&["leak-child"]).with(|spec| spec.leaks = Leaks::Allow);
    nursery.hatch(1, &attempt);
    let reports = nursery.until(ReportKind::Ended);
    let left = attempt.ended().leaked;
    left.iter().for_each(|pid| signal(*pid, Signal::KILL));
    assert!(!left.is_empty() && reports.iter().all(|report| report.kind != ReportKind::Vacated), "{left:?} {reports:?}");
}

#[test]
fn a_module_does_not_get_what_the_nursery_has() {
    let mut nursery = Nursery::new();
    let attempt = Attempt::shell("ls -l /proc/$$/fd; env; cat");
    nursery.hatch(1, &attempt);
    nursery.until(ReportKind::Ended);
    let out = attempt.out();
    for end in ["0", "1"] {
        let pipe = std::fs::read_link(format!("/proc/{}/fd/{end}", nursery.process.id())).expect("a pipe");
        assert!(!out.contains(&*pipe.to_string_lossy()), "{end} of the nursery\n{out}");
    }
    assert!(!out.contains("CARGO"), "{out}");
}

#[test]
fn f30_a_thousand_at_once() {
    let mut nursery = Nursery::new();
    let attempts: Vec<_> = (0..1000).map(|number| Attempt::shell(&format!("exit {}", number % 200))).collect();
    let mut started = BTreeMap::new();
    let (mut ended, mut gone, mut over) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (id, attempt) in attempts.iter().enumerate() {
        nursery.hatch(id as u64, attempt);
    }
    while over.len() < attempts.len() {
        let report = nursery.report();
        match report.kind {
            ReportKind::Started => assert_eq!(started.insert(report.id, report.value), None),
            // Nobody read while the orders were given: a hint may have been dropped then, but never both the wrapper's word and the
            // nursery's. A wrapper that could say its word may come home, and then there is nothing to say of it.
            ReportKind::Ended => {
                assert!(ended.insert(report.id), "{report:?}");
                over.insert(report.id);
            }
            ReportKind::Gone => {
                assert!(gone.insert(report.id), "{report:?}");
                over.insert(report.id);
            }
            ReportKind::Vacated => {}
            ReportKind::Output | ReportKind::Refused | ReportKind::NotHatched => panic!("{report:?}"),
        }
    }
    for (number, attempt) in (0_i64..).zip(&attempts) {
        assert_eq!(attempt.ended().how, ExitHow::Code(number % 200));
    }
    assert!(until(|| nursery.children().is_empty().then_some(())).is_some(), "{:?} are left", nursery.children());
    nursery.close();
}

#[test]
fn f32_without_room_for_a_process_the_nursery_says_so_and_goes_on() {
    let Some(group) = FewProcesses::new("nursery", 1) else {
        return skip(
            "f32_without_room_for_a_process_the_nursery_says_so_and_goes_on",
            "no control group for a number of processes can be made",
        );
    };
    let mut inside = Command::new(WRAPPER);
    inside.arg("--nursery");
    let mut nursery = Nursery::start(group.inside(&inside));
    let attempt = Attempt::shell("exit 3");
    nursery.hatch(1, &attempt);
    let report = nursery.report();
    assert_eq!((report.kind, report.id, report.value), (ReportKind::NotHatched, 1, 11));
    assert!(!attempt.at("claim").exists());
    std::fs::write(group.0.join("pids.max"), "2").expect("it is widened");
    // Room for a wrapper and none for its module.
    nursery.hatch(2, &attempt);
    nursery.until(ReportKind::Gone);
    assert!(matches!(attempt.ended().how, ExitHow::SpawnFailed { errno: 11, .. }));
    std::fs::write(group.0.join("pids.max"), "max").expect("it is widened");
    let other = Attempt::shell("exit 3");
    nursery.hatch(3, &other);
    nursery.until(ReportKind::Ended);
    assert_eq!(other.ended().how, ExitHow::Code(3));
    nursery.close();
}

#[test]
fn f38_wrappers_outlive_host_and_nursery() {
    let mut nursery = Nursery::new();
    let attempts: Vec<_> =
        (0..20).map(|_| Attempt::shell("while [ ! -e \"$PRISMQ_ARTIFACTS/go\" ]; do sleep 0.02; echo tick; done; exit 9")).collect();
    for (id, attempt) in attempts.iter().enumerate() {
        nursery.hatch(id as u64, attempt);
    }
    for attempt in &attempts {
        attempt.says("tick");
    }
    let starts: Vec<_> = attempts.iter().map(Attempt::alive).collect();
    nursery.reports = None;
    nursery.close();
    for (attempt, start) in attempts.iter().zip(&starts) {
        assert_eq!(attempt.alive(), *start);
        std::fs::write(attempt.at("go"), "").expect("a file");
    }
    for attempt in &attempts {
        assert_eq!(attempt.ended().how, ExitHow::Code(9));
        attempt.nothing_is_left();
    }
}

#[test]
fn f38_a_killed_nursery_takes_no_wrapper_with_it() {
    let mut nursery = Nursery::new();
    let attempt = Attempt::of(&["ignore-stop"]);
    nursery.hatch(1, &attempt);
    attempt.says("ready");
    // As a whole group, and as a terminal would do it.
    nursery.process.kill().expect("it is killed");
    nursery.process.wait().expect("it is dead");
    attempt.stop(StopAs::Polite, 100);
    assert!(attempt.ended().escalated);
    attempt.nothing_is_left();
}

#[test]
fn a_host_that_reads_no_reports_stops_nobody() {
    let mut nursery = Nursery::new();
    // Nobody reads, and the pipe has room for some reports only.
    let filler = Attempt::shell("exit 0");
    filler.run();
    let size = rustix::pipe::fcntl_setpipe_size(nursery.reports.as_ref().expect("it is open"), 4096).expect("a size");
    for id in 0..size / REPORT_BYTES {
        nursery.hatch(id as u64, &filler);
    }
    let attempt = Attempt::shell("for i in 1 2 3 4 5 6; do echo $i; sleep 0.06; done");
    let begun = Instant::now();
    nursery.hatch(u64::MAX, &attempt);
    assert_eq!(attempt.ended().how, ExitHow::Code(0));
    assert_eq!(attempt.out().lines().count(), 6);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn wrappers_are_small() {
    let mut nursery = Nursery::new();
    let attempt = Attempt::of(&["sleep"]);
    nursery.hatch(1, &attempt);
    let wrapper = attempt.alive().wrapper.pid;
    for pid in [wrapper, nursery.process.id()] {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("its memory");
        let private = rollup.lines().filter(|line| line.starts_with("Private_"));
        let kib: u64 = private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum();
        assert!(kib < 1024, "{kib} KiB private");
        assert_eq!(std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads").count(), 1);
    }
}

#[test]
fn orders_that_make_no_sense_end_the_nursery_and_nothing_else() {
    let mut nursery = Nursery::new();
    let attempt = Attempt::of(&["sleep"]);
    nursery.hatch(1, &attempt);
    let start = attempt.alive();
    nursery.orders.as_mut().expect("it is open").write_all(&[0xff; 8]).expect("it takes them");
    let ended = until(|| nursery.process.try_wait().expect("a child can be waited for"));
    assert_eq!(ended.and_then(|status| status.code()), Some(2));
    assert!(lives(start.wrapper.pid));
    signal(start.wrapper.pid, Signal::TERM);
    attempt.ended();
}
