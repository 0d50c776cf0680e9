//! Books to WebSocket subscribers, each at its own pace.

//! Books to subscribers, each at its own pace: the machines behind the WebSocket.
//!
//! Except in [`edge`], nothing here does I/O, reads a clock, or knows an async runtime.  The [`Hub`] takes updates from shards, text
//! from subscribers and the time; it gives messages to write, and tells shards what somebody is interested in.
//!
//! A message is encoded once for each [`topic::Profile`] (schema, instrument, conflation, encoding, checksum,
//! decimal), and all subscribers of the profile share its bytes.  A subscriber that doesn't keep up costs a
//! bounded amount of memory and nobody else anything: its books fall back to one snapshot of the newest state.
//!
//! | module | is |
//! | --- | --- |
//! | [`hub`] | [`Hub`]: who is subscribed to what, and what each is to be sent |
//! | [`protocol`] | requests and answers |
//! | [`topic`] | what can be subscribed to |
//! | [`directory`] | venues, channels, instruments; symbols and patterns |
//! | `mirror` | the hub's copies of the books that somebody is interested in |
//! | `stream` | the messages of one profile, encoded once |
//! | [`queue`] | what waits for one subscriber, within a bound |
//! | [`subscriber`] | a subscriber's state, and the one place that decides what becomes of a slow one |
//! | [`limits`], [`counters`], [`error`] | every bound, every count, every code |
//! | [`edge`] | sockets, HTTP, WebSocket, the page |
//! | [`client`] | the other side: a client that verifies what it receives |
//!
//! Read in this order: [`protocol`], [`topic`], [`hub`], `stream`, `mirror`, [`subscriber`].
#![forbid(unsafe_code)]

pub mod client;
pub mod counters;
pub mod directory;
pub mod edge;
pub mod error;
pub mod hub;
pub mod limits;
mod mirror;
pub mod protocol;
pub mod queue;
mod stream;
pub mod subscriber;
pub mod topic;

pub use counters::{Counters, HubStatus};
pub use error::{CloseCode, ErrorCode, Refusal};
pub use hub::{
    ChannelInfo, Encoding, Hub, HubConfig, QueryState, QueryToken, ServerInfo, SubscriberId,
    Transmit, Upstream, interest,
};
pub use limits::Limits;
