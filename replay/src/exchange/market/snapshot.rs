//! The present state as GLIMPSE tells it.
//!
//! Implements what *Nasdaq GLIMPSE Version 5.0*, section 1, says a login is answered with: Stock Directory
//! messages of all securities, their Trading Action and Reg SHO state, the last Operational Halt where
//! there was one, the last System Event, then an Add Order for each displayed order with the shares that
//! are left.  Positions of market participants, circuit breaker levels, imbalances and trades are
//! not part of it.  The specification says nothing of the orders' order; here queue order is kept: best
//! price first, then oldest first.  Timestamps are the present market time.

use tickcast_codecs::Side;

use super::Market;

impl Market {
    /// Gives each message of a snapshot as of the last message that [`Market::next`] gave: who applies
    /// these and then all later messages has the books of who applied all messages.
    ///
    /// The End of Snapshot message (1.7) is the server's to add: it knows the sequence number.
    pub fn snapshot(&self, each: &mut dyn FnMut(&[u8])) {
        let mut message = Vec::with_capacity(64);
        let mut give = |tell: &dyn Fn(&mut Vec<u8>)| {
            message.clear();
            tell(&mut message);
            if !message.is_empty() {
                each(&message);
            }
        };
        let told = |count: u8| {
            self.instruments
                .iter()
                .enumerate()
                .filter(move |(_, instrument)| instrument.told >= count)
                .map(|(at, _)| at)
        };
        for at in told(1) {
            give(&|out| self.tell_stock_directory(at, out));
        }
        for at in told(2) {
            give(&|out| self.tell_trading_action(at, out));
        }
        for at in told(3) {
            give(&|out| self.tell_reg_sho(at, out));
            give(&|out| self.tell_operational_halt(at, out));
        }
        if let Some(event_code) = self.event {
            give(&|out| self.tell_system_event(event_code, out));
        }
        for (at, instrument) in self.instruments.iter().enumerate() {
            for side in [Side::Bid, Side::Ask] {
                for order in instrument.book.orders(side) {
                    give(&|out| self.tell_add(at, order, out));
                }
            }
        }
    }
}
