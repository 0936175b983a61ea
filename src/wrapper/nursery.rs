//! The nursery: starts wrappers by copying itself, for as long as a host lives.
//!
//! A wrapper that is a fork of a small process costs a fraction of one that is executed: no loader, no start of a runtime. So a host
//! that starts many attempts keeps one nursery, and a nursery that dies is simply started again. At the end of its standard input, when
//! the host is gone, it goes too; the wrappers live on. What is known of them is `brood`'s to keep.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::AsFd;

use rustix::process::setsid;
use rustix::stdio::{dup2_stdin, stdin};

use super::brood::{Brood, Home, Newborn};
use super::life::{self, Order};
use super::reporter::Reporter;
use super::{DONE, MISUSED, sys};
use crate::attempt::{Hatch, Machine, ProcessIdentity, read_frame, take_homes};

/// Reads orders until there are no more.
pub(super) fn run() -> u8 {
    // A signal from the terminal is for the host, which knows what to do about it.
    let _ = setsid();
    Reporter::prepare();
    let inherited = Inherited { machine: Machine::this(), nothing: File::open("/dev/null").ok() };
    let mut orders = BufReader::new(Standard);
    // Before the orders, by the same way.
    let mut brood = Brood::new(take_homes(stdin()));
    loop {
        brood.look_after();
        if orders.buffer().is_empty() && !brood.wait_for_order() {
            continue;
        }
        let order =
            read_frame(&mut orders).and_then(|frame| frame.map(|frame| Hatch::head_of(&frame).map(|head| (head, frame))).transpose());
        match order {
            Ok(Some(((id, place), frame))) => {
                if let Some(newborn) = brood.give(id, place) {
                    sys::exit_at_once(hatched(&frame, newborn, &inherited));
                }
            }
            Ok(None) => {
                brood.dismiss();
                return DONE;
            }
            Err(error) => {
                eprintln!("prismq-attempt: the host's orders cannot be read: {error}");
                return MISUSED;
            }
        }
    }
}

/// What a copy has of its original.
struct Inherited {
    machine: Machine,
    nothing: Option<File>,
}

/// The lives of a copy: one, or as many as it is given.
fn hatched(frame: &[u8], newborn: Newborn, inherited: &Inherited) -> u8 {
    // The orders are for the original alone.
    let input_is_empty = inherited.nothing.as_ref().is_some_and(|nothing| dup2_stdin(nothing).is_ok());
    let Some(mut hatch) = Hatch::of_frame(frame) else { return MISUSED };
    let home: Option<Home> = newborn.home;
    let wrapper = ProcessIdentity::of(std::process::id());
    let mut signals = None;
    loop {
        let reporter = Reporter::inherited(hatch.id);
        let environment = Some(hatch.environment);
        let machine = &inherited.machine;
        let place = home.as_ref().map(|home| home.place);
        let order = Order { folder: &hatch.folder, environment, input_is_empty, machine, wrapper, reporter, place, signals };
        let lived = life::run(order);
        let Some((home, free)) = home.as_ref().zip(lived.signals) else { return lived.code };
        match home.next(&free) {
            Some(next) => hatch = next,
            None => return lived.code,
        }
        signals = Some(free);
    }
}

/// Standard input without the standard library's own buffer, whose content a `poll` would not see.
struct Standard;

impl Read for Standard {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(stdin().as_fd(), buffer)?)
    }
}
