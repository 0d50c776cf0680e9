//! What an operator changes while a shard runs: an edge.
//!
//! Sockets are opened and threads are started by whoever asks ([`Operator`]); the shard's thread only takes
//! them over, between two turns, and sends back what it had, to be closed elsewhere.  It never waits.

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::limits::RELOADS_MAX;
use crate::loader::LoaderHandle;
use crate::recovery::RecoveryConfig;
use crate::socket::RequestSocket;

/// Whom a shard asks for what it misses.
#[derive(Debug, Default)]
pub struct Servers {
    /// The request servers, if there are any.
    pub requests: Option<RequestSocket>,
    /// The snapshot servers, if there are any.
    pub loader: Option<LoaderHandle>,
}

/// Another way to recover.
#[derive(Debug)]
pub struct Reload {
    /// Timers and limits, and how many servers there are.
    pub recovery: RecoveryConfig,
    /// The servers.
    pub servers: Servers,
}

/// The operator's end.
#[derive(Debug)]
pub struct Operator {
    reloads: Sender<Reload>,
    old: Receiver<Servers>,
}

impl Operator {
    /// Hands a change over.  What earlier ones replaced is closed here.
    ///
    /// # Errors
    ///
    /// The change, if the shard has ended or hasn't taken the earlier ones yet.
    pub fn reload(&self, reload: Reload) -> Result<(), Box<Reload>> {
        drop(self.old.try_iter().collect::<Vec<_>>());
        self.reloads
            .try_send(reload)
            .map_err(|error| Box::new(error.into_inner()))
    }
}

/// The shard's end.
#[derive(Debug)]
pub struct Control {
    reloads: Receiver<Reload>,
    old: Sender<Servers>,
}

impl Control {
    pub(crate) fn poll(&self) -> Option<Reload> {
        self.reloads.try_recv().ok()
    }

    pub(crate) fn give_back(&self, old: Servers) {
        // There is room unless nobody has looked for a while; then it is closed here.
        let _ = self.old.try_send(old);
    }
}

/// An operator and what it controls.
#[must_use]
pub fn control() -> (Operator, Control) {
    let (reloads, reload_receiver) = bounded(RELOADS_MAX);
    let (old_sender, old) = bounded(RELOADS_MAX + 1);
    let operator = Operator { reloads, old };
    let control = Control {
        reloads: reload_receiver,
        old: old_sender,
    };
    (operator, control)
}
