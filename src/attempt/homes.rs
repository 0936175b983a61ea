//! The pipes through which wrappers that are free get their next orders: made by the host, which writes into them, and handed to the
//! nursery, whose copies read them.
//!
//! A pipe and not the nursery's own input: an order to a wrapper that is there already needs nobody else to wake up. They are handed over
//! as descriptors in a message (`SCM_RIGHTS`, unix(7)), since what a program inherits it would hand on to every module.

use std::io::{self, IoSlice, IoSliceMut, PipeReader, PipeWriter, pipe};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

#[cfg(target_os = "linux")]
const SEND: SendFlags = SendFlags::NOSIGNAL;
#[cfg(not(target_os = "linux"))]
const SEND: SendFlags = SendFlags::empty();
#[cfg(target_os = "linux")]
const RECEIVE: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const RECEIVE: RecvFlags = RecvFlags::empty();

/// Wrappers that may be free at once. Each costs a pipe, and more short modules than that at once are rare.
pub const HOMES_MAX: usize = 16;

/// Longest order that goes into such a pipe: it is written at once and never waited for.
pub const HOME_ORDER_BYTES_MAX: usize = 32 << 10;

/// Makes the pipes and hands their reading ends over, before the first order. The other ends never block. None are made where there are
/// not enough descriptors: then each wrapper has one attempt.
///
/// # Errors
/// What the system said: nobody is at the other end.
pub fn hand_over_homes(nursery: impl AsFd) -> io::Result<Vec<PipeWriter>> {
    let (homes, feeds) = make().unwrap_or_default();
    let ends: Vec<_> = homes.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HOMES_MAX))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    if !ends.is_empty() && rights.push(SendAncillaryMessage::ScmRights(&ends)) {
        let sent = sendmsg(&nursery, &[IoSlice::new(&[0])], &mut rights, SEND);
        if sent.is_ok() {
            return Ok(feeds);
        }
    }
    // The byte is waited for.
    sendmsg(&nursery, &[IoSlice::new(&[0])], &mut SendAncillaryBuffer::default(), SEND)?;
    Ok(Vec::new())
}

fn make() -> io::Result<(Vec<PipeReader>, Vec<PipeWriter>)> {
    let one = |_| {
        let (home, feed) = pipe()?;
        fcntl_setfl(&feed, OFlags::NONBLOCK)?;
        Ok((home, feed))
    };
    (0..HOMES_MAX).map(one).collect()
}

/// Takes them in the nursery; none where its input is no socket, and then nobody is free there.
pub(crate) fn take_homes(host: impl AsFd) -> Vec<PipeReader> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HOMES_MAX))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    if recvmsg(host, &mut [IoSliceMut::new(&mut [0])], &mut rights, RECEIVE).is_err() {
        return Vec::new();
    }
    let ends = rights.drain().filter_map(|message| if let RecvAncillaryMessage::ScmRights(ends) = message { Some(ends) } else { None });
    ends.flatten().map(PipeReader::from).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_written_at_one_end_is_read_at_the_other() {
        let (host, nursery) = UnixStream::pair().unwrap();
        let mut feeds = hand_over_homes(&host).unwrap();
        (&host).write_all(b"an order").unwrap();
        let mut homes = take_homes(&nursery);
        assert_eq!((feeds.len(), homes.len()), (HOMES_MAX, HOMES_MAX));
        for (number, (feed, home)) in (0_u8..).zip(feeds.iter_mut().zip(&mut homes)) {
            feed.write_all(&[number]).unwrap();
            let mut got = [0];
            home.read_exact(&mut got).unwrap();
            assert_eq!(got, [number]);
        }
        drop(feeds);
        assert_eq!(homes[0].read(&mut [0]).unwrap(), 0, "the end of the host is the end of its pipes");
        let mut order = [0; 8];
        (&nursery).read_exact(&mut order).unwrap();
        assert_eq!(&order, b"an order", "no byte of it was taken");
    }

    #[test]
    fn an_input_that_is_no_socket_has_none() {
        let (orders, _feed) = pipe().unwrap();
        assert!(take_homes(&orders).is_empty());
    }

    #[test]
    fn without_a_nursery_it_is_an_error() {
        let (host, nursery) = UnixStream::pair().unwrap();
        drop(nursery);
        assert!(hand_over_homes(&host).is_err());
    }
}
