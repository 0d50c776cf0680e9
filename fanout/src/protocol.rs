//! The control half of the subscriber protocol, version 1: requests and answers, JSON text in both encodings.
//!
//! Requests are read leniently: unknown fields are ignored, so that newer clients can talk to older servers.
//! Values are read strictly: a field that is known has a meaning or is refused with a sentence that says which.
//! Answers are built from the types here, so that what is sent can't differ from what is documented.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tickcast_codecs::outbound::Schema;

use crate::error::{ErrorCode, Refusal};
use crate::topic::CONFLATE_MS;

/// The version of the protocol.
pub const PROTO: u32 = 1;

/// What becomes of a subscription whose subscriber is too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSlow {
    /// Books: what waits is dropped and replaced by one snapshot of the newest state.  The others skip.
    #[default]
    Conflate,
    /// What waits is sent; what doesn't fit is skipped, and told by a gap or a snapshot.
    Skip,
    /// The connection is closed with 4408.
    Disconnect,
}

/// How symbols are written in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SymbolType {
    /// The venue's symbol.
    #[default]
    RawSymbol,
    /// Our number of the instrument, in decimal.
    InstrumentId,
}

/// What a request names: all, patterns, or symbols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The venue, by its market identifier code; where there is only one it may be left out.
    pub venue: Option<String>,
    /// How `symbols` are written.
    pub stype: SymbolType,
    /// Symbols (of `feed`: names of channels); one that ends with `*` is a pattern.
    pub symbols: Vec<String>,
}

/// What a subscription asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionRequest {
    /// The schema.
    pub schema: Schema,
    /// The instruments.
    pub selection: Selection,
    /// The interval of conflation, in milliseconds.
    pub conflate_ms: u16,
    /// Whether a book begins with a snapshot.
    pub snapshot: bool,
    /// Whether books by price carry a checksum.
    pub checksum: bool,
    /// What becomes of it when the subscriber is too slow.
    pub on_slow: OnSlow,
    /// Whether prices are decimal strings.
    pub decimal: bool,
}

/// What an `unsubscribe` or a `snapshot` request means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A subscription, by its number.
    Subscription(u32),
    /// Topics, by schema and symbols.
    Topics {
        /// The schema.
        schema: Schema,
        /// The instruments.
        selection: Selection,
    },
}

/// An operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Adds a subscription.
    Subscribe(SubscriptionRequest),
    /// Takes one away.
    Unsubscribe(Target),
    /// Replaces all.  Each is granted or refused by itself.
    Set(Vec<Result<SubscriptionRequest, Refusal>>),
    /// Tells all.
    List,
    /// Sends the books again.
    Snapshot(Target),
    /// Asks for a `pong`.
    Ping,
    /// Shows a token.
    Auth(String),
    /// Continues an earlier connection.
    Resume,
}

/// A request: an operation and what the client calls it.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The client's name of the request, echoed in the answer as it is.
    pub id: Option<Value>,
    /// The operation, or why there is none.
    pub op: Result<Op, Refusal>,
}

/// A request as it is on the wire: everything may be missing.
#[derive(Deserialize)]
struct RawRequest {
    op: Option<Value>,
    subscriptions: Option<Vec<Value>>,
    token: Option<Value>,
    sub: Option<Value>,
    #[serde(flatten)]
    fields: RawSubscription,
}

/// The fields of a subscription as they are on the wire.
#[derive(Deserialize)]
struct RawSubscription {
    schema: Option<Value>,
    venue: Option<Value>,
    symbols: Option<Value>,
    stype: Option<Value>,
    conflate_ms: Option<Value>,
    snapshot: Option<Value>,
    checksum: Option<Value>,
    on_slow: Option<Value>,
    decimal: Option<Value>,
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, message)
}

/// What of an untrusted text may be repeated in an answer: its beginning.
pub(crate) fn excerpt(text: &str) -> &str {
    let mut end = text.len().min(32);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn boolean(value: Option<&Value>, name: &str, default: bool) -> Result<bool, Refusal> {
    match value {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err(bad(format!("{name} is true or false"))),
    }
}

fn schema(value: Option<&Value>) -> Result<Schema, Refusal> {
    let Some(name) = value.and_then(Value::as_str) else {
        return Err(bad("schema is missing: a text such as \"mbp-10\""));
    };
    Schema::from_name(name).ok_or_else(|| {
        let names: Vec<_> = Schema::ALL.iter().map(|schema| schema.name()).collect();
        Refusal::new(
            ErrorCode::UnknownSchema,
            format!(
                "no schema {:?}; there are {}",
                excerpt(name),
                names.join(", ")
            ),
        )
    })
}

impl RawSubscription {
    fn selection(&self, symbols_max: usize) -> Result<Selection, Refusal> {
        let venue = match &self.venue {
            None | Some(Value::Null) => None,
            Some(Value::String(venue)) => Some(venue.clone()),
            Some(_) => return Err(bad("venue is a text such as \"XNAS\"")),
        };
        let stype = match self.stype.as_ref().map(Value::as_str) {
            None => SymbolType::RawSymbol,
            Some(Some("raw_symbol")) => SymbolType::RawSymbol,
            Some(Some("instrument_id")) => SymbolType::InstrumentId,
            Some(_) => return Err(bad("stype is \"raw_symbol\" or \"instrument_id\"")),
        };
        let wrong =
            || bad("symbols is \"*\", or a list of symbols, or of patterns that end with *");
        let symbols = match &self.symbols {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(list)) => list
                .iter()
                .map(|symbol| match symbol {
                    Value::String(symbol) => Ok(symbol.clone()),
                    // An instrument_id may be a number as well.
                    Value::Number(number) if stype == SymbolType::InstrumentId => {
                        Ok(number.to_string())
                    }
                    _ => Err(wrong()),
                })
                .collect::<Result<_, _>>()?,
            _ => return Err(wrong()),
        };
        if symbols.is_empty() {
            return Err(bad("symbols is empty"));
        }
        if symbols.len() > symbols_max {
            return Err(bad(format!(
                "more than {symbols_max} symbols in one request"
            )));
        }
        Ok(Selection {
            venue,
            stype,
            symbols,
        })
    }

    fn subscription(&self, symbols_max: usize) -> Result<SubscriptionRequest, Refusal> {
        let schema = schema(self.schema.as_ref())?;
        let conflate_ms = match &self.conflate_ms {
            None | Some(Value::Null) => 0,
            Some(value) => CONFLATE_MS
                .into_iter()
                .find(|&ms| value.as_u64() == Some(u64::from(ms)))
                .ok_or_else(|| bad("conflate_ms is one of 0, 10, 50, 100, 250, 1000"))?,
        };
        let on_slow = match self.on_slow.as_ref().map(Value::as_str) {
            None | Some(Some("conflate")) => OnSlow::Conflate,
            Some(Some("skip")) => OnSlow::Skip,
            Some(Some("disconnect")) => OnSlow::Disconnect,
            Some(_) => return Err(bad("on_slow is \"conflate\", \"skip\" or \"disconnect\"")),
        };
        Ok(SubscriptionRequest {
            schema,
            selection: self.selection(symbols_max)?,
            conflate_ms,
            snapshot: boolean(self.snapshot.as_ref(), "snapshot", true)?,
            checksum: boolean(self.checksum.as_ref(), "checksum", false)?,
            on_slow,
            decimal: boolean(self.decimal.as_ref(), "decimal", false)?,
        })
    }
}

impl RawRequest {
    fn target(&self, symbols_max: usize) -> Result<Target, Refusal> {
        match &self.sub {
            None | Some(Value::Null) => Ok(Target::Topics {
                schema: schema(self.fields.schema.as_ref()).map_err(|refusal| Refusal {
                    message: format!("{}; or sub, the number of a subscription", refusal.message),
                    ..refusal
                })?,
                selection: self.fields.selection(symbols_max)?,
            }),
            Some(sub) => sub
                .as_u64()
                .and_then(|sub| u32::try_from(sub).ok())
                .map(Target::Subscription)
                .ok_or_else(|| bad("sub is the number of a subscription")),
        }
    }

    fn op(&self, symbols_max: usize) -> Result<Op, Refusal> {
        let Some(op) = self.op.as_ref().and_then(Value::as_str) else {
            return Err(bad("op is missing: a text such as \"subscribe\""));
        };
        match op {
            "subscribe" => self.fields.subscription(symbols_max).map(Op::Subscribe),
            "unsubscribe" => self.target(symbols_max).map(Op::Unsubscribe),
            "set" => {
                let Some(list) = &self.subscriptions else {
                    return Err(bad("subscriptions is missing: a list"));
                };
                Ok(Op::Set(
                    list.iter()
                        .map(|value| {
                            RawSubscription::deserialize(value)
                                .map_err(|_| bad("a subscription is an object"))?
                                .subscription(symbols_max)
                        })
                        .collect(),
                ))
            }
            "list" => Ok(Op::List),
            "snapshot" => self.target(symbols_max).map(Op::Snapshot),
            "ping" => Ok(Op::Ping),
            "auth" => match &self.token {
                Some(Value::String(token)) => Ok(Op::Auth(token.clone())),
                _ => Err(bad("token is missing: a text")),
            },
            "resume" => Ok(Op::Resume),
            other => Err(Refusal::new(
                ErrorCode::UnknownOp,
                format!(
                    "no op {:?}; there are subscribe, unsubscribe, set, list, snapshot, ping, auth, resume",
                    excerpt(other)
                ),
            )),
        }
    }
}

impl Request {
    /// Reads a request.  `symbols_max` bounds the symbols of one subscription.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::BadJson`] if the text isn't a JSON object.  Whatever else is wrong is in
    /// [`op`](Self::op), beside the `id` to answer with.
    pub fn parse(text: &str, symbols_max: usize) -> Result<Self, Refusal> {
        let not_json = |message: String| Refusal::new(ErrorCode::BadJson, message);
        let value: Value =
            serde_json::from_str(text).map_err(|error| not_json(format!("not JSON: {error}")))?;
        let Value::Object(object) = &value else {
            return Err(not_json("a request is an object".to_owned()));
        };
        let id = object.get("id").filter(|id| !id.is_null()).cloned();
        let op = match &id {
            None | Some(Value::Number(_) | Value::String(_)) => RawRequest::deserialize(&value)
                .map_err(|error| bad(error.to_string()))
                .and_then(|raw| raw.op(symbols_max)),
            Some(_) => Err(bad("id is a number or a text")),
        };
        // What isn't a plain value isn't echoed either.
        let id = id.filter(|id| id.is_number() || id.is_string());
        Ok(Self { id, op })
    }
}

/// The options of a subscription as granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effective {
    /// The schema.
    pub schema: &'static str,
    /// The venue, where the symbols are of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub venue: Option<String>,
    /// How symbols were written.
    pub stype: SymbolType,
    /// The encoding of data: `json` or `fb`.
    pub encoding: &'static str,
    /// The interval of conflation, in milliseconds.
    pub conflate_ms: u16,
    /// Whether a book begins with a snapshot.
    pub snapshot: bool,
    /// Whether books by price carry a checksum.
    pub checksum: bool,
    /// What becomes of it when the subscriber is too slow.
    pub on_slow: OnSlow,
    /// Whether prices are decimal strings.
    pub decimal: bool,
    /// Patterns that instruments defined later are matched with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patterns: Vec<String>,
}

/// An instrument that a subscription has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Granted {
    /// The venue's symbol.
    pub symbol: String,
    /// Its number in data messages.
    pub instrument_id: u32,
    /// `stale` if its book has a fault of its own; else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
}

/// A symbol that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// The symbol, as asked.
    pub symbol: String,
    /// An error code.
    pub code: &'static str,
}

/// A channel and its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ChannelState<'a> {
    /// The channel's name.
    pub channel: &'a str,
    /// Its venue.
    pub venue: &'a str,
    /// `live` or `stale`.
    pub state: &'static str,
}

/// The limits that a client should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct WelcomeLimits {
    /// Bytes of a message from the client.
    pub message_bytes_max: usize,
    /// Messages from the client each second, in the long run.
    pub messages_per_second_max: u32,
    /// Messages from the client at once.
    pub message_burst_max: u32,
    /// Topics of the connection.
    pub topics_max: usize,
    /// Subscriptions of the connection.
    pub subscriptions_max: usize,
    /// Bytes that wait for the client before it is slow.
    pub queue_bytes_max: usize,
}

/// A subscription in the answer to `list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its number.
    pub sub: u32,
    /// Its options.
    pub effective: Effective,
    /// Its instruments.
    pub symbols: Vec<Granted>,
}

/// What the server says, beside data.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Answer<'a> {
    /// The first message of a connection.
    Welcome {
        /// [`PROTO`].
        proto: u32,
        /// Names this run of the server.
        session: &'a str,
        /// Names the run's numbering.
        epoch: &'a str,
        /// Nanoseconds since the Unix epoch, as a decimal string.
        server_time: String,
        /// The limits.
        limits: WelcomeLimits,
        /// Between two heartbeats.
        heartbeat_ms: u64,
        /// All channels.
        channels: Vec<ChannelState<'a>>,
    },
    /// A subscription begins; or instruments join it, without `id`.
    Subscribed {
        /// The request's name.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
        /// The subscription's number.
        sub: u32,
        /// Its options as granted.
        effective: Effective,
        /// Instruments that are subscribed from now on.
        symbols: Vec<Granted>,
        /// Symbols that were refused.
        failed: Vec<Failed>,
    },
    /// Topics are subscribed no more.
    Unsubscribed {
        /// The request's name.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
        /// The subscription's number, where the request named one.
        #[serde(skip_serializing_if = "Option::is_none")]
        sub: Option<u32>,
        /// How many topics ended.
        topics: usize,
        /// Which, where the venue and not the client ended them: it gave their numbers to other symbols.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        symbols: Vec<Granted>,
    },
    /// The answer to `set`, after a `subscribed` or an `error` for each subscription, in their order.
    Set {
        /// The request's name.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
        /// The subscriptions' numbers, in the request's order; `null` for one that was refused.
        subs: Vec<Option<u32>>,
    },
    /// The answer to `list`.
    List {
        /// The request's name.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
        /// All subscriptions.
        subscriptions: Vec<Listed>,
    },
    /// The answer to `snapshot`; the snapshots follow as data.
    Snapshots {
        /// The request's name.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
        /// How many topics will get one.
        topics: usize,
    },
    /// The answer to `ping`.
    Pong {
        /// The request's name.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
        /// Nanoseconds since the Unix epoch, as a decimal string.
        server_time: String,
    },
    /// The answer to `auth`.
    Authenticated {
        /// The request's name.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    },
    /// A request was refused.
    Error {
        /// The request's name, if it could be read.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
        /// The code.
        code: &'static str,
        /// For people.
        message: String,
        /// When to try again.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
        /// Whether the connection is closed now.
        fatal: bool,
    },
    /// The server is alive.
    Heartbeat {
        /// Counts heartbeats of the server.
        n: u64,
        /// Nanoseconds since the Unix epoch, as a decimal string.
        server_time: String,
        /// All channels.
        channels: Vec<ChannelState<'a>>,
    },
    /// A channel's books can't be trusted from now on, or can again.
    State {
        /// The channel.
        channel: &'a str,
        /// Its venue.
        venue: &'a str,
        /// `stale` or `live`.
        state: &'static str,
    },
    /// One book can't be trusted from now on, or can again, whatever its channel's state.
    BookState {
        /// The instrument.
        instrument_id: u32,
        /// `stale` or `live`.
        state: &'static str,
    },
    /// The server stops.
    Shutdown {
        /// When connections are closed.
        in_ms: u64,
    },
}

impl Answer<'_> {
    /// The JSON text.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Cannot fail: there is no map with keys that aren't text, and no writer that could.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// An error, from a refusal.
    #[must_use]
    pub fn error(id: Option<Value>, refusal: Refusal, fatal: bool) -> Self {
        Self::Error {
            id,
            code: refusal.code.name(),
            message: refusal.message,
            retry_after_ms: refusal.retry_after_ms,
            fatal,
        }
    }
}
