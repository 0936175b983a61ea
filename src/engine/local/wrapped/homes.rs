//! Wrappers that are free, and the pipes through which they get their next orders.
//!
//! A wrapper says with the end of a short module that it waits at its place. Each place has a pipe, which the host made; an order is
//! written into it at once or not at all. Whoever died before it took its order is told by the nursery, and its attempt, which nobody has
//! claimed, is given to another one.

use std::io::{PipeWriter, Write};
use std::time::{Duration, Instant};

use crate::attempt::HOME_ORDER_BYTES_MAX;

/// How long a wrapper stays free: longer than the pause between two nodes of a busy run, too short to be found beside an idle host.
const FREE_MAX: Duration = Duration::from_secs(2);

/// An order that is none: whoever gets it goes.
const DISMISSAL: [u8; 4] = [0; 4];

/// The places of a nest.
#[derive(Debug, Default)]
pub(super) struct Homes {
    nest: u64,
    homes: Vec<Home>,
    /// Places of those that are free, the latest last: what it touched is still in the processor's caches.
    free: Vec<usize>,
}

#[derive(Debug)]
struct Home {
    /// None: an order did not go through whole, and the pipe was given up.
    feed: Option<PipeWriter>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody has this place.
    Empty,
    /// Its wrapper has this attempt.
    Busy(u64),
    /// It waits.
    Free { since: Instant },
    /// It was told to go, or cannot be reached any more.
    Leaving,
}

impl Homes {
    /// The places of a new nest; those of the one before are given up.
    pub(super) fn open(&mut self, nest: u64, feeds: Vec<PipeWriter>) {
        *self =
            Self { nest, homes: feeds.into_iter().map(|feed| Home { feed: Some(feed), state: State::Empty }).collect(), free: Vec::new() };
    }

    /// Gives all places up: with the ends of their pipes whoever is free goes, and the others when their modules have ended.
    pub(super) fn close(&mut self) {
        self.homes.clear();
        self.free.clear();
    }

    /// The nest is gone, and with it who would tell of the death of its wrappers: they get no more orders.
    pub(super) fn abandon(&mut self, nest: u64) {
        if self.nest == nest {
            self.close();
        }
    }

    /// Gives an order to a wrapper that is free; the nest that it is of.
    pub(super) fn give(&mut self, number: u64, order: &[u8]) -> Option<u64> {
        if order.len() > HOME_ORDER_BYTES_MAX {
            return None;
        }
        while let Some(home) = self.free.pop().and_then(|place| self.homes.get_mut(place)) {
            let written = home.feed.as_mut().map(|feed| feed.write(order));
            if matches!(written, Some(Ok(count)) if count == order.len()) {
                home.state = State::Busy(number);
                return Some(self.nest);
            }
            // It has died, or has got a part of an order: with the end behind that it goes.
            home.feed = None;
            home.state = State::Leaving;
        }
        None
    }

    /// A place for a new wrapper, if there is one.
    pub(super) fn take(&mut self, number: u64) -> Option<usize> {
        let place = self.homes.iter().position(|home| home.state == State::Empty && home.feed.is_some())?;
        self.homes[place].state = State::Busy(number);
        Some(place)
    }

    /// The wrapper that had this attempt waits.
    pub(super) fn came_home(&mut self, nest: u64, place: usize, number: u64) {
        if let Some(home) = self.of(nest, place).filter(|home| home.state == State::Busy(number)) {
            home.state = State::Free { since: Instant::now() };
            self.free.push(place);
        }
    }

    /// The wrapper at a place is gone: the attempt that it had.
    pub(super) fn gone(&mut self, nest: u64, place: usize) -> Option<u64> {
        let home = self.of(nest, place)?;
        let state = std::mem::replace(&mut home.state, State::Empty);
        self.free.retain(|free| *free != place);
        if let State::Busy(number) = state { Some(number) } else { None }
    }

    /// No wrapper could be made for this attempt.
    pub(super) fn not_hatched(&mut self, nest: u64, number: u64) {
        let homes = self.homes.iter_mut().filter(|_| self.nest == nest);
        homes.filter(|home| home.state == State::Busy(number)).for_each(|home| home.state = State::Empty);
    }

    /// Sends away who has been free for long.
    pub(super) fn tidy(&mut self, now: Instant) {
        let Self { homes, free, .. } = self;
        free.retain(|place| {
            let Some(home) = homes.get_mut(*place) else { return false };
            let State::Free { since } = home.state else { return false };
            let stays = now.saturating_duration_since(since) < FREE_MAX;
            if !stays {
                let told = home.feed.as_mut().is_some_and(|feed| feed.write(&DISMISSAL).is_ok());
                home.feed.take_if(|_| !told);
                home.state = State::Leaving;
            }
            stays
        });
    }

    /// Whether there is somebody to be sent away some time.
    pub(super) fn is_waited_at(&self) -> bool {
        !self.free.is_empty()
    }

    fn of(&mut self, nest: u64, place: usize) -> Option<&mut Home> {
        self.homes.get_mut(place).filter(|_| self.nest == nest)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read, pipe};

    use super::*;

    fn homes(count: usize) -> (Homes, Vec<PipeReader>) {
        let (orders, feeds) = (0..count).map(|_| pipe().unwrap()).unzip();
        let mut homes = Homes::default();
        homes.open(1, feeds);
        (homes, orders)
    }

    #[test]
    fn the_latest_to_come_home_gets_the_next_order() {
        let (mut homes, mut orders) = homes(2);
        assert_eq!(homes.give(7, b"order"), None, "nobody is there");
        assert_eq!([homes.take(7), homes.take(8), homes.take(9)], [Some(0), Some(1), None]);
        homes.came_home(1, 0, 7);
        homes.came_home(1, 1, 8);
        assert_eq!(homes.give(9, b"order"), Some(1));
        let mut got = [0; 5];
        orders[1].read_exact(&mut got).unwrap();
        assert_eq!((&got, homes.gone(1, 1)), (b"order", Some(9)), "it had the new one when it died");
    }

    #[test]
    fn what_is_told_of_another_nest_or_another_attempt_changes_nothing() {
        let (mut homes, _orders) = homes(1);
        assert_eq!(homes.take(7), Some(0));
        homes.came_home(2, 0, 7);
        homes.came_home(1, 0, 6);
        homes.came_home(1, 5, 7);
        homes.not_hatched(2, 7);
        assert_eq!((homes.is_waited_at(), homes.gone(2, 0), homes.gone(1, 5)), (false, None, None));
        assert_eq!(homes.gone(1, 0), Some(7));
        assert_eq!(homes.take(8), Some(0), "the place is free for a new one");
    }

    #[test]
    fn whoever_died_at_home_had_nothing() {
        let (mut homes, _orders) = homes(1);
        homes.take(7);
        homes.came_home(1, 0, 7);
        assert_eq!(homes.gone(1, 0), None);
        assert_eq!(homes.give(8, b"order"), None);
    }

    #[test]
    fn whoever_lost_its_nursery_gets_no_more_orders() {
        let (mut homes, mut orders) = homes(1);
        homes.take(7);
        homes.came_home(1, 0, 7);
        homes.abandon(2);
        assert!(homes.is_waited_at(), "that was another one");
        homes.abandon(1);
        assert_eq!((homes.give(8, b"order"), homes.take(9)), (None, None));
        assert_eq!(orders[0].read(&mut [0]).unwrap(), 0, "and goes");
    }

    #[test]
    fn a_place_for_which_nobody_was_made_is_given_again() {
        let (mut homes, _orders) = homes(1);
        homes.take(7);
        homes.not_hatched(1, 7);
        assert_eq!(homes.take(8), Some(0));
    }

    #[test]
    fn an_order_that_is_too_long_or_finds_no_room_goes_to_nobody() {
        let (mut homes, orders) = homes(1);
        homes.take(7);
        homes.came_home(1, 0, 7);
        assert_eq!(homes.give(8, &vec![0; HOME_ORDER_BYTES_MAX + 1]), None);
        assert!(homes.is_waited_at(), "and it is free still");
        drop(orders);
        assert_eq!(homes.give(8, b"order"), None, "its end is closed");
        assert!(!homes.is_waited_at());
    }

    /// Pipes are small for a user who has many of them.
    #[test]
    fn whoever_got_a_part_of_an_order_goes_and_its_place_with_it() {
        let (mut orders, feed) = pipe().unwrap();
        rustix::pipe::fcntl_setpipe_size(&feed, 4096).unwrap();
        let nonblocking = |pipe: &dyn std::os::fd::AsFd| rustix::fs::fcntl_setfl(pipe, rustix::fs::OFlags::NONBLOCK).unwrap();
        nonblocking(&feed);
        nonblocking(&orders);
        let mut homes = Homes::default();
        homes.open(1, vec![feed]);
        homes.take(7);
        homes.came_home(1, 0, 7);
        assert_eq!(homes.give(8, &[1; 8192]), None);
        let mut got = Vec::new();
        orders.read_to_end(&mut got).expect("its end comes behind the part");
        assert_eq!((got.len(), homes.gone(1, 0), homes.take(9)), (4096, None, None));
    }

    #[test]
    fn whoever_is_free_for_long_is_sent_away() {
        let (mut homes, mut orders) = homes(1);
        homes.take(7);
        homes.came_home(1, 0, 7);
        let now = Instant::now();
        homes.tidy(now);
        assert!(homes.is_waited_at());
        homes.tidy(now + FREE_MAX);
        let mut got = [1; 4];
        orders[0].read_exact(&mut got).unwrap();
        assert_eq!((got, homes.is_waited_at(), homes.take(8)), (DISMISSAL, false, None), "until it is gone");
        assert_eq!((homes.gone(1, 0), homes.take(8)), (None, Some(0)));
    }
}
