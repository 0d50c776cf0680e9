//! The market beside the shard's: messages of a snapshot in, no updates out.

use tickcast_book::{Market, NoUpdates};
use tickcast_codecs::DecodeError;
use tickcast_codecs::event::{Event, Header, Normalizer as _, Origin, Sink};
use tickcast_codecs::protocol::{Normalizer, Protocol};

use super::{LoadError, Loaded, Share};

/// What is being loaded.
#[derive(Debug)]
pub(super) struct Shadow {
    pub(super) protocol: Protocol,
    pub(super) share: Share,
    pub(super) market: Market,
    pub(super) normalizer: Normalizer,
    pub(super) messages: u64,
}

/// Events into the shadow, as far as they are the shard's.
struct Apply<'a> {
    market: &'a mut Market,
    share: Share,
    faulty: bool,
}

impl Sink for Apply<'_> {
    #[inline]
    fn event(&mut self, header: &Header, event: &Event) {
        if self.share.holds(header.instrument_id) {
            let applied = self.market.apply(header, event, &mut NoUpdates);
            self.faulty |= applied.fault.is_some();
        }
    }
}

impl Shadow {
    /// Takes one message.  The inner result is what the normalizer says of it; with an error it was skipped.
    ///
    /// There is no time of receipt: nothing tells when the live feed had it.
    pub(super) fn message(
        &mut self,
        message: &[u8],
        sequence: u64,
    ) -> Result<Result<(), DecodeError>, LoadError> {
        if self.protocol.check(message).is_err() {
            return Err(LoadError::Malformed);
        }
        self.messages += 1;
        let origin = Origin {
            sequence,
            ts_recv: 0,
        };
        let mut apply = Apply {
            market: &mut self.market,
            share: self.share,
            faulty: false,
        };
        let result = self.normalizer.message(message, origin, &mut apply);
        if apply.faulty {
            return Err(LoadError::Inconsistent);
        }
        Ok(result)
    }

    /// What the shard gets: live data joins at `sequence`.
    pub(super) fn complete(self, id: u64, sequence: u64) -> Loaded {
        Loaded {
            id,
            sequence,
            market: self.market,
            normalizer: self.normalizer,
            messages: self.messages,
        }
    }
}
