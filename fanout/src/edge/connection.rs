//! One subscriber's connection: moves messages between its WebSocket and the hub.

use std::rc::Rc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::edge::Reactor;
use crate::hub::{Encoding, SubscriberId, Transmit};

/// tungstenite allocates this eagerly for each connection; its default of 128 KiB would cost 1.3 GB for
/// 10,000 subscribers.  Subscribers send only short requests.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Messages are collected up to this before they are written.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;

/// A list of all instruments is one message of some hundred KiB: the bound of what one write may hold.
const WRITE_BUFFER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A connection whose socket takes nothing for so long is dropped: its peer is gone, or never reads.
const NO_PROGRESS: Duration = Duration::from_secs(30);

/// Messages written before the peer's are read again: pongs and requests of a busy subscriber are seen too.
const MESSAGES_PER_WRITE: usize = 64;

/// How long a peer has to answer a close.
const CLOSE: Duration = Duration::from_secs(1);

/// The limits of a subscriber's WebSocket.
fn config(message_bytes_max: usize) -> WebSocketConfig {
    // A little more than the hub takes, so that the hub can say what was wrong.
    let bytes = message_bytes_max.saturating_mul(4);
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(bytes))
        .max_frame_size(Some(bytes))
}

/// Serves one subscriber on an upgraded stream until either side ends it.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    reactor: Rc<Reactor>,
    stream: S,
    encoding: Encoding,
    message_bytes_max: usize,
) {
    let mut socket =
        WebSocketStream::from_raw_socket(stream, Role::Server, Some(config(message_bytes_max)))
            .await;
    let id = reactor.hub.borrow_mut().connect(encoding, reactor.now());
    let wake = Rc::new(Notify::new());
    {
        let mut connections = reactor.connections.borrow_mut();
        if connections.len() <= id.index() {
            connections.resize(id.index() + 1, None);
        }
        connections[id.index()] = Some(Rc::clone(&wake));
    }
    // The welcome waits.
    wake.notify_one();
    let _ = exchange(&reactor, &mut socket, id, &wake).await;
    reactor.connections.borrow_mut()[id.index()] = None;
    reactor.hub.borrow_mut().disconnect(id);
    reactor.turn.notify_one();
}

/// Why a connection ended; the reason is for nobody: the hub counts.
struct Ended;

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    reactor: &Reactor,
    socket: &mut WebSocketStream<S>,
    id: SubscriberId,
    wake: &Notify,
) -> Result<(), Ended> {
    loop {
        tokio::select! {
            () = wake.notified() => if write(reactor, socket, id).await? {
                // There is more, when the peer had its turn.
                wake.notify_one();
            },
            message = socket.next() => match message {
                Some(Ok(message)) => read(reactor, id, message),
                Some(Err(Error::Capacity(_))) => return close(socket, CloseCode::Size, "too big").await,
                Some(Err(_)) | None => return Err(Ended),
            },
        }
    }
}

fn read(reactor: &Reactor, id: SubscriberId, message: Message) {
    let mut hub = reactor.hub.borrow_mut();
    match message {
        Message::Text(text) => hub.handle_text(id, text.as_str(), reactor.now()),
        Message::Binary(_) => hub.handle_unreadable(id, reactor.now()),
        Message::Pong(_) => hub.handle_pong(id, reactor.now()),
        // tungstenite answers pings and closes by itself.
        Message::Ping(_) | Message::Close(_) | Message::Frame(_) => return,
    }
    reactor.turn.notify_one();
}

/// Writes what waits, with one flush; returns whether there may be more.
async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    reactor: &Reactor,
    socket: &mut WebSocketStream<S>,
    id: SubscriberId,
) -> Result<bool, Ended> {
    let mut more = true;
    for _ in 0..MESSAGES_PER_WRITE {
        let next = reactor.hub.borrow_mut().poll_transmit(id);
        let message = match next {
            None => {
                more = false;
                break;
            }
            Some(Transmit::Text(bytes)) => {
                Message::Text(Utf8Bytes::try_from(bytes).map_err(|_| Ended)?)
            }
            Some(Transmit::Binary(bytes)) => Message::Binary(bytes),
            Some(Transmit::Ping) => Message::Ping(bytes::Bytes::new()),
            Some(Transmit::Close { code, reason }) => {
                close(socket, CloseCode::from(code), reason).await?;
                return Ok(false);
            }
        };
        in_time(socket.feed(message)).await?;
    }
    in_time(socket.flush()).await?;
    // A snapshot that was made for this subscriber may have flushed its profile to others.
    if reactor.hub.borrow().has_ready() {
        reactor.turn.notify_one();
    }
    Ok(more)
}

async fn in_time(write: impl Future<Output = Result<(), Error>>) -> Result<(), Ended> {
    match tokio::time::timeout(NO_PROGRESS, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Ended),
    }
}

/// Sends a close and waits a moment for the answer, so that the peer gets the code and not a reset.
async fn close<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    code: CloseCode,
    reason: &'static str,
) -> Result<(), Ended> {
    let frame = CloseFrame {
        code,
        reason: Utf8Bytes::from_static(reason),
    };
    let _ = tokio::time::timeout(CLOSE, async {
        if socket.close(Some(frame)).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    })
    .await;
    Err(Ended)
}
