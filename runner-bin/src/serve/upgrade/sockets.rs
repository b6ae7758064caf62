//! Listening sockets on their way to another process.

use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// A runner has five: builds, tools, metrics, peers, agents.
const MOST: usize = 8;

/// Longer than the names of as many.
const NAMES: usize = 256;

/// Sends sockets by name. Blocks for no longer than the system needs.
pub(super) fn send(channel: &UnixStream, sockets: &[(&str, &TcpListener)]) -> io::Result<()> {
    let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
    let names = names.join(" ");
    let descriptors: Vec<BorrowedFd<'_>> = sockets.iter().map(|(_, s)| s.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("too many sockets"));
    }
    let bytes = [IoSlice::new(names.as_bytes())];
    let sent = sendmsg(channel, &bytes, &mut ancillary, SendFlags::empty())?;
    if sent == names.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

/// Receives what [`send`] sent. Blocks until it comes, or the channel's
/// timeout. No child of this process inherits the sockets.
pub(super) fn receive(channel: &UnixStream) -> io::Result<HashMap<String, TcpListener>> {
    let mut names = [0; NAMES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [IoSliceMut::new(&mut names)];
    let received = recvmsg(channel, &mut bytes, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut sockets: Vec<OwnedFd> = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            sockets.extend(descriptors);
        }
    }
    let names = names.get(..received.bytes).unwrap_or_default();
    let names = String::from_utf8_lossy(names);
    let names: Vec<&str> = names.split_whitespace().collect();
    if names.is_empty() || names.len() != sockets.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} sockets came for {} names", sockets.len(), names.len()),
        ));
    }
    let named = names.into_iter().map(ToOwned::to_owned);
    Ok(named
        .zip(sockets.into_iter().map(TcpListener::from))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_arrive_under_their_names_and_listen() {
        let (near, far) = UnixStream::pair().unwrap();
        let [a, b] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        send(&near, &[("a", &a), ("b", &b)]).unwrap();
        let (at_a, at_b) = (a.local_addr().unwrap(), b.local_addr().unwrap());
        drop((a, b));
        let arrived = receive(&far).unwrap();
        assert_eq!(arrived["a"].local_addr().unwrap(), at_a);
        assert_eq!(arrived["b"].local_addr().unwrap(), at_b);
        std::net::TcpStream::connect(at_a).unwrap();
        arrived["a"].accept().unwrap();
    }

    #[test]
    fn p13_anything_else_is_refused() {
        let (near, far) = UnixStream::pair().unwrap();
        io::Write::write_all(&mut &near, b"http").unwrap();
        assert_eq!(
            receive(&far).unwrap_err().to_string(),
            "0 sockets came for 1 names"
        );
        drop(near);
        receive(&far).unwrap_err();
    }
}
