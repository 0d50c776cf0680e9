//! Accepts connections and answers HTTP: the page, the queries, the upgrade to WebSocket.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use socket2::SockRef;
use tickcast_codecs::outbound::json::encode_feed;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::edge::{Reactor, assets, connection};
use crate::hub::{Encoding, QueryState, feed_of};
use crate::limits::Limits;

/// A client that hasn't sent its request's headers by then is dropped.
const HEADERS: Duration = Duration::from_secs(5);

/// The kernel's send buffer of a subscriber.  With the default, 4 MB of old data wait in the kernel of a
/// client that doesn't read, before the server can notice.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Connections at the same time; the next one gets 503.
const CONNECTIONS_MAX: usize = 10_240;

/// How long the accept loop rests after an error (out of file descriptors).
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How long a query rests before it asks again whether the book is there.
const QUERY_REST: Duration = Duration::from_millis(1);

type Answer = Response<Full<Bytes>>;

/// Accepts until it is aborted.
pub(super) async fn accept(reactor: Rc<Reactor>, listener: TcpListener) {
    let open = Rc::new(());
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Held by each connection's task: its count is the number of open connections.
                let held = Rc::clone(&open);
                let full = Rc::strong_count(&open) > CONNECTIONS_MAX + 1;
                let reactor = Rc::clone(&reactor);
                tokio::task::spawn_local(async move {
                    serve(reactor, stream, peer, full, held).await;
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_REST).await,
        }
    }
}

async fn serve(
    reactor: Rc<Reactor>,
    stream: TcpStream,
    _peer: SocketAddr,
    full: bool,
    held: Rc<()>,
) {
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER_BYTES);
    let service = service_fn(|request| {
        let reactor = Rc::clone(&reactor);
        let held = &held;
        async move {
            let answer = if full {
                let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, "");
                set(&mut answer, header::RETRY_AFTER, "1");
                set(&mut answer, header::CONNECTION, "close");
                answer
            } else {
                answer(&reactor, request, held).await
            };
            Ok::<_, Infallible>(answer)
        }
    });
    // A client that breaks HTTP gets hyper's answer; nothing to add.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

async fn answer(reactor: &Rc<Reactor>, request: Request<Incoming>, held: &Rc<()>) -> Answer {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        set(&mut answer, header::ALLOW, "GET, HEAD");
        return answer;
    }
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    if reactor.is_loopback && !names_this_machine(request.headers()) {
        return text(StatusCode::FORBIDDEN, "");
    }
    match path.as_str() {
        "/v1/ws" => upgrade(reactor, request, held),
        "/v1/instruments" => json_bytes(StatusCode::OK, reactor.hub.borrow().instruments()),
        "/v1/status" => json_bytes(StatusCode::OK, status(reactor)),
        "/healthz" => text(StatusCode::OK, "ok\n"),
        path => match path.strip_prefix("/v1/book/") {
            Some(book) => self::book(reactor, book, &query).await,
            None => page(path),
        },
    }
}

fn page(path: &str) -> Answer {
    let Some((media_type, data)) = assets::find(path) else {
        return error(StatusCode::NOT_FOUND, "not_found", "there is no such page");
    };
    let mut answer = Response::new(Full::new(Bytes::from(data.into_owned())));
    set(&mut answer, header::CONTENT_TYPE, media_type);
    set(&mut answer, header::CACHE_CONTROL, "no-cache");
    set(
        &mut answer,
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; frame-ancestors 'none'",
    );
    set(&mut answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    answer
}

/// `GET /v1/book/{venue}/{symbol}?depth=N`.
async fn book(reactor: &Rc<Reactor>, path: &str, query: &str) -> Answer {
    let Some((venue, symbol)) = path.split_once('/') else {
        return error(
            StatusCode::NOT_FOUND,
            "not_found",
            "the path is /v1/book/VENUE/SYMBOL",
        );
    };
    let symbol = percent_decoded(symbol);
    let mut depth = 10;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        // Unknown parameters are ignored, as unknown fields are on the socket.
        let Some(("depth", value)) = pair.split_once('=') else {
            continue;
        };
        match value.parse() {
            Ok(levels) if levels > 0 => depth = levels,
            _ => {
                return error(
                    StatusCode::BAD_REQUEST,
                    "bad_request",
                    "depth is a number of levels from 1 on",
                );
            }
        }
    }
    let token = reactor
        .hub
        .borrow_mut()
        .request_book(venue, &symbol, depth, reactor.now());
    reactor.turn.notify_one();
    loop {
        let state = reactor.hub.borrow_mut().poll_book(token);
        match state {
            QueryState::Pending => tokio::time::sleep(QUERY_REST).await,
            QueryState::Ready(bytes) => return json_bytes(StatusCode::OK, bytes),
            QueryState::NotFound => {
                return error(
                    StatusCode::NOT_FOUND,
                    "unknown_symbol",
                    "there is no such venue or symbol",
                );
            }
            QueryState::Unavailable => {
                return error(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "unavailable",
                    "the book isn't to be had right now",
                );
            }
        }
    }
}

/// Symbols have no character that needs it, but clients may encode any.
fn percent_decoded(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |digit: u8| char::from(digit).to_digit(16);
        if let (b'%', [high, low, after @ ..]) = (first, tail)
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
            && let Ok(byte) = u8::try_from(high * 16 + low)
        {
            decoded.push(byte);
            rest = after;
        } else {
            decoded.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The hub's status, and what the channels say of themselves.
fn status(reactor: &Reactor) -> Bytes {
    let hub = reactor.hub.borrow().status();
    let Ok(Value::Object(mut status)) = serde_json::from_slice(&hub) else {
        return hub;
    };
    let feeds: Vec<Value> = reactor
        .reports
        .iter()
        .map(|(channel, report)| {
            let mut feed = Vec::new();
            encode_feed(&feed_of(channel, &report(), false), &mut feed);
            serde_json::from_slice(&feed).unwrap_or_default()
        })
        .collect();
    status.insert("feeds".to_owned(), Value::Array(feeds));
    Bytes::from(Value::Object(status).to_string())
}

/// Whether a comma-separated header names a token.
fn names(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// Whether the client means this machine by its address or as `localhost`.  A page of elsewhere whose name was
/// made to lead here (DNS rebinding) doesn't.  A client without `Host` is no browser.
#[must_use]
pub fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// A page of another site must not read this server through its visitor's browser.
fn is_own_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let authority = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"))
        .map(|(_, authority)| authority.as_bytes());
    authority.is_some() && authority == host
}

fn upgrade(reactor: &Rc<Reactor>, mut request: Request<Incoming>, held: &Rc<()>) -> Answer {
    let headers = request.headers();
    if !names(headers, header::UPGRADE, "websocket") {
        let mut answer = text(
            StatusCode::UPGRADE_REQUIRED,
            "this is a WebSocket: see /v1/ws in the protocol\n",
        );
        set(&mut answer, header::UPGRADE, "websocket");
        return answer;
    }
    if !is_own_origin(headers) {
        return text(StatusCode::FORBIDDEN, "");
    }
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        let mut answer = text(StatusCode::UPGRADE_REQUIRED, "");
        set(&mut answer, header::SEC_WEBSOCKET_VERSION, "13");
        return answer;
    }
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        return text(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing\n");
    };
    let accept = derive_accept_key(key.as_bytes());
    let offers = |encoding: Encoding| {
        names(
            headers,
            header::SEC_WEBSOCKET_PROTOCOL,
            encoding.subprotocol(),
        )
    };
    let offered = headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL);
    let encoding = [Encoding::FlatBuffers, Encoding::Json]
        .into_iter()
        .find(|encoding| offers(*encoding));

    let reactor = Rc::clone(reactor);
    let held = Rc::clone(held);
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::task::spawn_local(async move {
        if let Ok(upgraded) = upgrading.await {
            let stream = TokioIo::new(upgraded);
            let bytes_max = Limits::default().message_bytes_max;
            let encoding = encoding.unwrap_or(Encoding::Json);
            connection::serve(reactor, stream, encoding, bytes_max).await;
        }
        drop(held);
    });

    let mut answer = text(StatusCode::SWITCHING_PROTOCOLS, "");
    set(&mut answer, header::CONNECTION, "Upgrade");
    set(&mut answer, header::UPGRADE, "websocket");
    set(&mut answer, header::SEC_WEBSOCKET_ACCEPT, &accept);
    if offered && let Some(encoding) = encoding {
        set(
            &mut answer,
            header::SEC_WEBSOCKET_PROTOCOL,
            encoding.subprotocol(),
        );
    }
    answer
}

fn text(status: StatusCode, body: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *answer.status_mut() = status;
    if !body.is_empty() {
        set(
            &mut answer,
            header::CONTENT_TYPE,
            "text/plain; charset=utf-8",
        );
    }
    answer
}

fn json_bytes(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    set(&mut answer, header::CONTENT_TYPE, "application/json");
    set(&mut answer, header::CACHE_CONTROL, "no-store");
    answer
}

fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    let body = json!({ "type": "error", "code": code, "message": message });
    json_bytes(status, Bytes::from(body.to_string()))
}

/// Sets a header; a value that HTTP doesn't allow is left out.
fn set(answer: &mut Answer, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}
