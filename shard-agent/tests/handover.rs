//! Backends whose sockets are handed over to a caller on the same host.

mod common;

use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use atoll_proto::v1::{Fragment, LaneOpen};
use atoll_wire::frames::next_frame;
use atoll_wire::frontend;
use bytes::BytesMut;
use common::{Agent, DEADLINE, Lane, error_of, open_request};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

fn with_handover() -> LaneOpen {
    LaneOpen { hand_over: true, ..open_request() }
}

/// Shows a ticket; the backend's socket. It never blocks: that is a property of the connection, which the agent shares.
fn fetch(lane: &Lane, ticket: &[u8]) -> io::Result<UnixStream> {
    let mut agent = UnixStream::connect(&lane.opened.handover_socket)?;
    agent.write_all(ticket)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = recvmsg(&agent, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let backend = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    assert_eq!(backend.is_some(), received.bytes == 1);
    let backend = backend.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(UnixStream::from(backend))
}

/// Reads what there is, once there is something; 0 at the end.
fn read(backend: &mut UnixStream, buffer: &mut [u8]) -> usize {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match backend.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            read => return read.unwrap(),
        }
    }
}

fn read_to_end(backend: &mut UnixStream) {
    while read(backend, &mut [0; 4096]) > 0 {}
}

/// The answer to a simple query, as tags and the bytes of its last row.
fn ask(backend: &mut UnixStream, sql: &str) -> (String, Vec<u8>) {
    let mut packet = BytesMut::new();
    frontend::query(sql, &mut packet);
    backend.write_all(&packet).unwrap();
    let (mut tags, mut row) = (String::new(), Vec::new());
    let mut inbox = BytesMut::new();
    let mut buffer = [0; 4096];
    while !tags.ends_with('Z') {
        let read = read(backend, &mut buffer);
        assert_ne!(read, 0, "the backend ended after {tags}");
        inbox.extend_from_slice(&buffer[..read]);
        while let Some(frame) = next_frame(&mut inbox, 1 << 20).unwrap() {
            tags.push(char::from(frame.tag));
            if frame.tag == b'D' {
                row = frame.body_slice()[6..].to_vec();
            }
        }
    }
    (tags, row)
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_go_directly_and_fragments_by_the_stream() {
    let agent = Agent::start(10).await;
    let mut lane = Lane::open(&mut agent.client(), with_handover()).await.unwrap();
    let mut backend = fetch(&lane, &lane.opened.ticket).unwrap();
    let pid = lane.opened.backend_pid.to_string();
    for round in 0..3 {
        assert_eq!(ask(&mut backend, "SELECT pg_backend_pid()"), ("TDCZ".into(), pid.clone().into_bytes()));
        let run = Fragment { sql: format!("SELECT pg_backend_pid(), {round}"), ..Fragment::default() };
        let (mut reader, done) = lane.fragment(run).await;
        assert!(done.error_frame.is_empty(), "{:?}", error_of(&done.error_frame));
        assert!(done.rest.is_empty());
        assert_eq!(reader.next_batch().unwrap().unwrap().num_rows(), 1);
    }
    // A ticket is good for one.
    assert!(fetch(&lane, &lane.opened.ticket).is_err());
    // The lane ends with its stream, whoever has the socket.
    drop(lane);
    read_to_end(&mut backend);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_backend_ends_with_its_lane() {
    let agent = Agent::start(10).await;
    let lane = Lane::open(&mut agent.client(), with_handover()).await.unwrap();
    let mut backend = fetch(&lane, &lane.opened.ticket).unwrap();
    let mut packet = BytesMut::new();
    frontend::query("SELECT pg_sleep(600)", &mut packet);
    backend.write_all(&packet).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(lane);
    read_to_end(&mut backend);
    let mut other = Lane::new(&agent).await;
    let sleeping =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' AND pid <> pg_backend_pid()";
    assert_eq!(other.ask(sleeping).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_may_be_declined() {
    let agent = Agent::start(10).await;
    let mut lane = Lane::open(&mut agent.client(), with_handover()).await.unwrap();
    assert!(fetch(&lane, &[0; 16]).is_err());
    assert_eq!(lane.ask("SELECT 'by the stream'").await, "by the stream");
    assert!(Lane::new(&agent).await.opened.ticket.is_empty());
}
