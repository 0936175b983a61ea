//! The newest things of a feed by their numbers, as many as fit into so many bytes.

use std::collections::VecDeque;
use std::sync::Arc;

/// Something with consecutive numbers in it.
pub(super) trait Numbered {
    /// Its first and its last number.
    fn numbers(&self) -> (u64, u64);
    /// About what it takes in memory.
    fn bytes(&self) -> usize;
}

/// A ring. What is pushed follows on what is there, or takes its place.
#[derive(Debug)]
pub(super) struct Ring<T> {
    items: VecDeque<Arc<T>>,
    bytes: usize,
    bytes_max: usize,
    last: u64,
}

/// Where a number is.
#[derive(Debug)]
pub(super) enum At<T> {
    /// In this.
    Here(Arc<T>),
    /// No longer here.
    Before,
    /// It has not come yet.
    Ahead,
}

impl<T: Numbered> Ring<T> {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { items: VecDeque::new(), bytes: 0, bytes_max, last: 0 }
    }

    /// The last number that has come.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Everything up to a number has come, and is not here.
    pub(super) fn skip_to(&mut self, last: u64) {
        if last > self.last {
            self.items.clear();
            self.bytes = 0;
            self.last = last;
        }
    }

    /// Adds the next one. The newest one always stays.
    pub(super) fn push(&mut self, item: T) {
        let (first, last) = item.numbers();
        if first != self.last + 1 {
            self.items.clear();
            self.bytes = 0;
        }
        self.bytes += item.bytes();
        self.last = last;
        self.items.push_back(Arc::new(item));
        while self.bytes > self.bytes_max && self.items.len() > 1 {
            self.bytes -= self.items.pop_front().map_or(0, |item| item.bytes());
        }
    }

    /// Where a number is.
    pub(super) fn at(&self, number: u64) -> At<T> {
        if number > self.last {
            return At::Ahead;
        }
        let place = self.items.partition_point(|item| item.numbers().1 < number);
        match self.items.get(place) {
            Some(item) if item.numbers().0 <= number => At::Here(item.clone()),
            Some(_) | None => At::Before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Item(u64, u64);

    impl Numbered for Item {
        fn numbers(&self) -> (u64, u64) {
            (self.0, self.1)
        }
        fn bytes(&self) -> usize {
            10
        }
    }

    fn place(ring: &Ring<Item>, number: u64) -> String {
        match ring.at(number) {
            At::Here(item) => format!("{}-{}", item.0, item.1),
            At::Before => "before".to_owned(),
            At::Ahead => "ahead".to_owned(),
        }
    }

    #[test]
    fn a_number_is_found_or_known_to_be_gone() {
        let mut ring = Ring::new(25);
        assert_eq!(place(&ring, 1), "ahead");
        for (first, last) in [(1, 3), (4, 4), (5, 9)] {
            ring.push(Item(first, last));
        }
        let places: Vec<String> = (1..=10).map(|number| place(&ring, number)).collect();
        assert_eq!(places, ["before", "before", "before", "4-4", "5-9", "5-9", "5-9", "5-9", "5-9", "ahead"]);
    }

    #[test]
    fn what_does_not_follow_takes_the_place_of_what_is_there() {
        let mut ring = Ring::new(100);
        ring.push(Item(1, 3));
        ring.skip_to(7);
        assert_eq!((place(&ring, 2), place(&ring, 7), place(&ring, 8)), ("before".into(), "before".into(), "ahead".into()));
        ring.push(Item(8, 9));
        ring.push(Item(12, 12));
        assert_eq!((place(&ring, 8), place(&ring, 12)), ("before".into(), "12-12".into()));
    }
}
