//! Lanes whose caller shares this host: the backend's socket itself goes to the coordinator, so that frames make one hop less.
//!
//! The lane's stream stays: it carries fragments, and the lane ends with it.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

/// Bytes of a ticket.
const TICKET_BYTES: usize = 16;
/// How long an offer stands, and how long somebody who connects may take to show a ticket.
const OFFER_MAX: Duration = Duration::from_secs(10);
/// Pause after a failed accept: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Ticket = [u8; TICKET_BYTES];

/// Connections that wait to be fetched.
#[derive(Debug, Default)]
pub struct Handovers(Mutex<HashMap<Ticket, OwnedFd>>);

impl Handovers {
    /// Keeps a connection for whoever shows the ticket that comes back, within 10 s.
    pub fn offer(self: &Arc<Self>, connection: OwnedFd) -> Vec<u8> {
        let ticket: Ticket = rand::random();
        self.offers().insert(ticket, connection);
        let handovers = Arc::clone(self);
        tokio::spawn(async move {
            sleep(OFFER_MAX).await;
            handovers.offers().remove(&ticket);
        });
        ticket.to_vec()
    }

    fn offers(&self) -> std::sync::MutexGuard<'_, HashMap<Ticket, OwnedFd>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, mut caller: UnixStream) -> io::Result<()> {
        let mut ticket = Ticket::default();
        caller.read_exact(&mut ticket).await?;
        let connection = self.offers().remove(&ticket);
        let connection = connection.ok_or_else(|| io::Error::from(io::ErrorKind::PermissionDenied))?;
        caller.async_io(Interest::WRITABLE, || send(&caller, &connection)).await
    }
}

/// Sends one byte, and with it the descriptor.
fn send(caller: &UnixStream, connection: &OwnedFd) -> io::Result<()> {
    let descriptors = [connection.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(caller, &[io::IoSlice::new(b"+")], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Hands over what is asked for, forever.
pub async fn serve(listener: UnixListener, handovers: Arc<Handovers>) {
    loop {
        match listener.accept().await {
            Ok((caller, _)) => {
                let handovers = Arc::clone(&handovers);
                tokio::spawn(async move {
                    match timeout(OFFER_MAX, handovers.serve(caller)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::warn!(%error, "a backend could not be handed over"),
                        Err(_) => tracing::warn!("somebody who connected for a backend showed no ticket"),
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
