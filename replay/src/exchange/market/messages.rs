//! The market's messages as bytes.

use tickcast_codecs::Side;
use tickcast_codecs::itch50::{
    AddOrder, AddOrderWithMpid, BrokenTrade, CrossTrade, LuldAuctionCollar,
    MarketParticipantPosition, MwcbDeclineLevel, Noii, OperationalHalt, OrderCancel, OrderDelete,
    OrderExecuted, OrderExecutedWithPrice, OrderReplace, RegShoRestriction, StockDirectory,
    StockTradingAction, SystemEvent, Trade,
};
use tickcast_codecs::wire::{Alpha, BePrice4, BePrice8, BeTimestamp48, Char};
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes};

use super::Market;
use super::instrument::locate;
use super::orders::Order;

/// Attributions; no member firm has these.
pub(super) const MPIDS: [[u8; 4]; 6] = [*b"MMAA", *b"MMBB", *b"MMCC", *b"MMDD", *b"MMEE", *b"MMFF"];

/// An execution against a displayed order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Execution {
    pub(super) at: usize,
    pub(super) id: u64,
    pub(super) shares: u32,
    pub(super) match_number: u64,
}

/// What an imbalance message tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Imbalance {
    pub(super) paired: u64,
    pub(super) imbalance: u32,
    pub(super) direction: u8,
    /// In ticks.
    pub(super) far: u32,
    pub(super) near: u32,
    pub(super) reference: u32,
    pub(super) cross_type: u8,
}

impl Market {
    /// Beyond 24 hours the day just goes on, so that time doesn't go back; the field wraps after 78 hours.
    fn timestamp(&self) -> BeTimestamp48 {
        BeTimestamp48::from_nanos(self.config.open_ns.wrapping_add(self.offset_ns))
    }

    pub(super) fn tell_system_event(&self, event_code: u8, out: &mut Vec<u8>) {
        write(
            &SystemEvent {
                message_type: Char(b'S'),
                stock_locate: U16::ZERO,
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                event_code: Char(event_code),
            },
            out,
        );
    }

    pub(super) fn tell_stock_directory(&self, at: usize, out: &mut Vec<u8>) {
        write(
            &StockDirectory {
                message_type: Char(b'R'),
                stock_locate: locate(at),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                stock: self.instruments[at].stock,
                market_category: Char(b"QGS"[at % 3]),
                financial_status_indicator: Char(b'N'),
                round_lot_size: U32::new(100),
                round_lots_only: Char(b'N'),
                // Common stock, no sub-type.
                issue_classification: Char(b'C'),
                issue_sub_type: Alpha(*b"Z "),
                authenticity: Char(b'P'),
                short_sale_threshold_indicator: Char(b'N'),
                ipo_flag: Char(b'N'),
                luld_reference_price_tier: Char(if at < 8 { b'1' } else { b'2' }),
                etp_flag: Char(b'N'),
                etp_leverage_factor: U32::ZERO,
                inverse_indicator: Char(b'N'),
            },
            out,
        );
    }

    /// Its present state.
    pub(super) fn tell_trading_action(&self, at: usize, out: &mut Vec<u8>) {
        let instrument = &self.instruments[at];
        write(
            &StockTradingAction {
                message_type: Char(b'H'),
                stock_locate: locate(at),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                stock: instrument.stock,
                trading_state: Char(instrument.state.wire()),
                reserved: Char(b' '),
                reason: Alpha(instrument.reason),
            },
            out,
        );
    }

    pub(super) fn tell_reg_sho(&self, at: usize, out: &mut Vec<u8>) {
        let instrument = &self.instruments[at];
        write(
            &RegShoRestriction {
                message_type: Char(b'Y'),
                locate_code: locate(at),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                stock: instrument.stock,
                reg_sho_action: Char(instrument.reg_sho),
            },
            out,
        );
    }

    /// The first position is that of the primary market maker.
    pub(super) fn tell_position(&self, at: usize, position: usize, out: &mut Vec<u8>) {
        write(
            &MarketParticipantPosition {
                message_type: Char(b'L'),
                stock_locate: locate(at),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                mpid: Alpha(MPIDS[(at + position) % MPIDS.len()]),
                stock: self.instruments[at].stock,
                primary_market_maker: Char(if position == 0 { b'Y' } else { b'N' }),
                market_maker_mode: Char(b'N'),
                market_participant_state: Char(b'A'),
            },
            out,
        );
    }

    /// 7 %, 13 % and 20 % below an index of 5,000.
    pub(super) fn tell_decline_levels(&self, out: &mut Vec<u8>) {
        let level = |whole: u64| BePrice8(U64::new(whole * 100_000_000));
        write(
            &MwcbDeclineLevel {
                message_type: Char(b'V'),
                stock_locate: U16::ZERO,
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                level_1: level(4_650),
                level_2: level(4_350),
                level_3: level(4_000),
            },
            out,
        );
    }

    /// The prices within which a paused security may reopen: 5 % around the reference price.
    pub(super) fn tell_collar(&self, at: usize, reference: u32, out: &mut Vec<u8>) {
        let instrument = &self.instruments[at];
        let price = instrument.wire_price(reference);
        let band = price / 20;
        write(
            &LuldAuctionCollar {
                message_type: Char(b'J'),
                stock_locate: locate(at),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                stock: instrument.stock,
                auction_collar_reference_price: BePrice4(U32::new(price)),
                upper_auction_collar_price: BePrice4(U32::new(price + band)),
                lower_auction_collar_price: BePrice4(U32::new(price - band)),
                auction_collar_extension: U32::ZERO,
            },
            out,
        );
    }

    /// The last action, if there was one.
    pub(super) fn tell_operational_halt(&self, at: usize, out: &mut Vec<u8>) {
        let instrument = &self.instruments[at];
        let Some(action) = instrument.operational else {
            return;
        };
        write(
            &OperationalHalt {
                message_type: Char(b'h'),
                stock_locate: locate(at),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                stock: instrument.stock,
                market_code: Char(b'Q'),
                operational_halt_action: Char(action),
            },
            out,
        );
    }

    /// An order with what is left of it.
    pub(super) fn tell_add(&self, at: usize, order: &Order, out: &mut Vec<u8>) {
        let instrument = &self.instruments[at];
        let attribution = usize::from(order.mpid)
            .checked_sub(1)
            .and_then(|mpid| MPIDS.get(mpid));
        let (stock_locate, timestamp) = (locate(at), self.timestamp());
        let order_reference_number = U64::new(order.id);
        let buy_sell_indicator = Char(wire_side(order.side));
        let (shares, price) = (U32::new(order.shares), instrument.price(order.tick));
        let (tracking_number, stock) = (U16::ZERO, instrument.stock);
        match attribution {
            None => write(
                &AddOrder {
                    message_type: Char(b'A'),
                    stock_locate,
                    tracking_number,
                    timestamp,
                    order_reference_number,
                    buy_sell_indicator,
                    shares,
                    stock,
                    price,
                },
                out,
            ),
            Some(&mpid) => write(
                &AddOrderWithMpid {
                    message_type: Char(b'F'),
                    stock_locate,
                    tracking_number,
                    timestamp,
                    order_reference_number,
                    buy_sell_indicator,
                    shares,
                    stock,
                    price,
                    attribution: Alpha(mpid),
                },
                out,
            ),
        }
    }

    pub(super) fn tell_executed(&self, execution: Execution, out: &mut Vec<u8>) {
        write(
            &OrderExecuted {
                message_type: Char(b'E'),
                stock_locate: locate(execution.at),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                order_reference_number: U64::new(execution.id),
                executed_shares: U32::new(execution.shares),
                match_number: U64::new(execution.match_number),
            },
            out,
        );
    }

    /// At a price in wire units.
    pub(super) fn tell_executed_at(
        &self,
        execution: Execution,
        printable: bool,
        price: u32,
        out: &mut Vec<u8>,
    ) {
        write(
            &OrderExecutedWithPrice {
                message_type: Char(b'C'),
                stock_locate: locate(execution.at),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                order_reference_number: U64::new(execution.id),
                executed_shares: U32::new(execution.shares),
                match_number: U64::new(execution.match_number),
                printable: Char(if printable { b'Y' } else { b'N' }),
                execution_price: BePrice4(U32::new(price)),
            },
            out,
        );
    }

    pub(super) fn tell_cancel(&self, at: usize, id: u64, canceled: u32, out: &mut Vec<u8>) {
        write(
            &OrderCancel {
                message_type: Char(b'X'),
                stock_locate: locate(at),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                order_reference_number: U64::new(id),
                canceled_shares: U32::new(canceled),
            },
            out,
        );
    }

    pub(super) fn tell_delete(&self, at: usize, id: u64, out: &mut Vec<u8>) {
        write(
            &OrderDelete {
                message_type: Char(b'D'),
                stock_locate: locate(at),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                order_reference_number: U64::new(id),
            },
            out,
        );
    }

    /// `original` gives place to an order of this number, shares and tick.
    pub(super) fn tell_replace(
        &self,
        at: usize,
        original: u64,
        (id, shares, tick): (u64, u32, u32),
        out: &mut Vec<u8>,
    ) {
        write(
            &OrderReplace {
                message_type: Char(b'U'),
                stock_locate: locate(at),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                original_order_reference_number: U64::new(original),
                new_order_reference_number: U64::new(id),
                shares: U32::new(shares),
                price: self.instruments[at].price(tick),
            },
            out,
        );
    }

    /// At a price in wire units.
    pub(super) fn tell_trade(
        &self,
        at: usize,
        shares: u32,
        price: u32,
        match_number: u64,
        out: &mut Vec<u8>,
    ) {
        write(
            &Trade {
                message_type: Char(b'P'),
                stock_locate: locate(at),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                order_reference_number: U64::ZERO,
                buy_sell_indicator: Char(b'B'),
                shares: U32::new(shares),
                stock: self.instruments[at].stock,
                price: BePrice4(U32::new(price)),
                match_number: U64::new(match_number),
            },
            out,
        );
    }

    /// At a price in wire units.
    pub(super) fn tell_cross(
        &self,
        at: usize,
        (shares, price): (u64, u32),
        match_number: u64,
        cross_type: u8,
        out: &mut Vec<u8>,
    ) {
        write(
            &CrossTrade {
                message_type: Char(b'Q'),
                stock_locate: locate(at),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                shares: U64::new(shares),
                stock: self.instruments[at].stock,
                cross_price: BePrice4(U32::new(price)),
                match_number: U64::new(match_number),
                cross_type: Char(cross_type),
            },
            out,
        );
    }

    pub(super) fn tell_broken(&self, stock_locate: u16, match_number: u64, out: &mut Vec<u8>) {
        write(
            &BrokenTrade {
                message_type: Char(b'B'),
                stock_locate: U16::new(stock_locate),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                match_number: U64::new(match_number),
            },
            out,
        );
    }

    pub(super) fn tell_noii(&self, at: usize, told: Imbalance, out: &mut Vec<u8>) {
        let instrument = &self.instruments[at];
        write(
            &Noii {
                message_type: Char(b'I'),
                stock_locate: locate(at),
                tracking_number: U16::ZERO,
                timestamp: self.timestamp(),
                paired_shares: U64::new(told.paired),
                imbalance_shares: U64::new(u64::from(told.imbalance)),
                imbalance_direction: Char(told.direction),
                stock: instrument.stock,
                far_price: instrument.price(told.far),
                near_price: instrument.price(told.near),
                current_reference_price: instrument.price(told.reference),
                cross_type: Char(told.cross_type),
                price_variation_indicator: Char(variation(told.near, told.reference)),
            },
            out,
        );
    }
}

/// How far the near price is from the reference price (ITCH 5.0, 1.6).
fn variation(near: u32, reference: u32) -> u8 {
    match u64::from(near.abs_diff(reference)) * 100 / u64::from(reference.max(1)) {
        0 => b'L',
        percent @ 1..=9 => b"0123456789"[usize::try_from(percent).unwrap_or(0)],
        10..=19 => b'A',
        20..=29 => b'B',
        _ => b'C',
    }
}

fn wire_side(side: Side) -> u8 {
    match side {
        Side::Bid => b'B',
        Side::Ask => b'S',
    }
}

fn write<T: IntoBytes + Immutable>(message: &T, out: &mut Vec<u8>) {
    out.extend_from_slice(message.as_bytes());
}
