//! ITCH messages to events.

use core::mem::offset_of;

use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::{
    AddOrder, AddOrderWithMpid, BrokenTrade, CrossTrade, DirectListingWithCapitalRaise,
    IpoQuotingPeriodUpdate, LuldAuctionCollar, MarketParticipantPosition, MwcbDeclineLevel,
    MwcbStatus, Noii, OperationalHalt, OrderCancel, OrderDelete, OrderExecuted,
    OrderExecutedWithPrice, OrderReplace, PROTOCOL, RegShoRestriction,
    RetailPriceImprovementIndicator, StockDirectory, StockTradingAction, SystemEvent, Trade,
};
use crate::DecodeError;
use crate::event::{
    self, Definition, Event, Header, Imbalance, OrderEvent, OrderKind, Origin, Sink, Status,
    StatusAction, TradeKind,
};
use crate::types::{Price, Side, Text};
use crate::wire::{BeTimestamp48, Char, Fields};

/// Nanoseconds in an hour.
const HOUR: u64 = 3_600_000_000_000;
/// Nanoseconds in a day.
const DAY: u64 = 24 * HOUR;

/// Maps ITCH 5.0 to the normalized model.
///
/// | message | event |
/// | --- | --- |
/// | `A` `F` Add Order | `Add` |
/// | `E` Order Executed | `Execute` at the order's own price, printable |
/// | `C` Order Executed With Price | `Execute` with the price; printable as told |
/// | `X` Order Cancel | `Cancel` |
/// | `D` Order Delete | `Delete` |
/// | `U` Order Replace | `Replace` |
/// | `A`, `F` of an instrument without directory message | `Definition` of the symbol alone, first |
/// | `P` Trade | `Trade`, hidden; no side, see below |
/// | `Q` Cross Trade | `Trade`, cross; conditions: the cross type; not printable if no share was matched |
/// | `B` Broken Trade | `TradeBreak` |
/// | `I` NOII | `Imbalance`; auction type: the cross type; a side only for `B` and `S` |
/// | `R` Stock Directory | `Definition` |
/// | `S` System Event | `Status` of the channel; code: the event code |
/// | `H` Stock Trading Action | `Status` halt, pause, quoting, trading; code: the state; reason |
/// | `Y` Reg SHO | `Status` short-sale restriction; code: the action |
/// | `L` Market Participant Position | `Status` market participant; code: the state; reason: the MPID |
/// | `V` MWCB Decline Level | `Status` circuit breaker; code `V` |
/// | `W` MWCB Status | `Status` circuit breaker; code: the level |
/// | `K` IPO Quoting Period Update | `Status` other; code: the qualifier |
/// | `J` LULD Auction Collar | `Status` auction collar; code `J` |
/// | `h` Operational Halt | `Status` operational halt or resume; code: the action; reason: the market |
/// | `N` Retail Price Improvement | `Status` retail interest; code: the flag |
/// | `O` Direct Listing with Capital Raise | `Status` other; code: the eligibility |
///
/// The side of `P` isn't told: "Effective 07/14/2014, this field will always be `B` regardless of the
/// resting side" (1.5.1), so a `B` gives no side; an `S`, which only older recordings have, does.  An operational halt may concern another market than Nasdaq; its reason
/// says which.
///
/// `instrument_id` is the channel's number and the stock locate.  A message about an order, a trade or a
/// security with locate 0 is refused: 0 is for "messages which are not stock dependent" ("Architecture").
///
/// # Time
///
/// ITCH tells nanoseconds since midnight, Eastern time, and no day.  The day comes from the clock that
/// stamped the packet: midnight is the whole hour (of UTC) that makes midnight + timestamp nearest to
/// `ts_recv`.  That holds for any zone at whole hours from UTC, in summer and winter, as long as the
/// clocks agree within 30 minutes *and the first message is current*: where a session begins with old
/// messages (a GLIMPSE snapshot, a late retransmission), give the midnight by
/// [`Normalizer::with_midnight`].  It is computed once in a session, and then kept.  Where neither is
/// known (`ts_recv` is 0), `ts_event` is nanoseconds since midnight.
#[derive(Debug, Clone)]
pub struct Normalizer {
    channel: u16,
    midnight: Midnight,
    /// A bit for each locate whose symbol was told.
    known: Box<[u64; LOCATES / 64]>,
}

/// Stock locates there can be.
const LOCATES: usize = 1 << 16;

#[derive(Debug, Clone, Copy)]
enum Midnight {
    /// Not known yet.
    Unknown,
    /// Found from a packet's stamp, or given for the session: good for the session.
    Found(u64),
    /// Given: good for ever.
    Given(u64),
}

impl Normalizer {
    /// A normalizer for one channel.
    #[must_use]
    pub fn new(channel: u16) -> Self {
        Self {
            channel,
            midnight: Midnight::Unknown,
            known: Box::new([0; LOCATES / 64]),
        }
    }

    /// Takes midnight (nanoseconds since the Unix epoch) as given, rather than from packets.
    #[must_use]
    pub fn with_midnight(self, midnight: u64) -> Self {
        Self {
            midnight: Midnight::Given(midnight),
            ..self
        }
    }

    /// Takes midnight (nanoseconds since the Unix epoch) as if a packet of this session had told it: good
    /// until the next session begins.
    #[must_use]
    pub fn with_session_midnight(self, midnight: u64) -> Self {
        Self {
            midnight: Midnight::Found(midnight),
            ..self
        }
    }

    /// A session begins, perhaps of another day: midnight is found anew, unless it was given.
    pub fn start_session(&mut self) {
        if let Midnight::Found(_) = self.midnight {
            self.midnight = Midnight::Unknown;
        }
        *self.known = [0; LOCATES / 64];
    }

    /// Whether the locate's symbol was told before; from now on it was.
    #[inline]
    fn learn(&mut self, locate: U16) -> bool {
        let locate = usize::from(locate.get());
        let bit = 1_u64 << (locate % 64);
        match self.known.get_mut(locate / 64) {
            Some(word) => {
                let known = *word & bit != 0;
                *word |= bit;
                known
            }
            None => true,
        }
    }

    /// Whether the locate's symbol was told before.
    #[inline(always)]
    fn is_known(&self, locate: u16) -> bool {
        let word = self.known.get(usize::from(locate / 64));
        word.is_some_and(|word| word >> (locate % 64) & 1 != 0)
    }

    /// The midnight that timestamps count from, if it is known.
    #[must_use]
    pub const fn midnight(&self) -> Option<u64> {
        match self.midnight {
            Midnight::Unknown => None,
            Midnight::Found(midnight) | Midnight::Given(midnight) => Some(midnight),
        }
    }

    /// Learns midnight from a message that is current, before any is mapped; without effect once it is known.
    /// For who maps old messages first: a snapshot, a late retransmission.
    pub fn learn_midnight(&mut self, message: &[u8], ts_recv: u64) {
        let timestamp = message.get(5..11).and_then(|bytes| bytes.try_into().ok());
        if let (None, Some(timestamp)) = (self.midnight(), timestamp) {
            self.find_midnight(BeTimestamp48(timestamp).nanos(), ts_recv);
        }
    }

    #[inline]
    fn header(&mut self, locate: U16, timestamp: BeTimestamp48, origin: Origin) -> Header {
        let since_midnight = timestamp.nanos();
        let midnight = match self.midnight {
            Midnight::Found(midnight) | Midnight::Given(midnight) => midnight,
            Midnight::Unknown => self.find_midnight(since_midnight, origin.ts_recv),
        };
        Header {
            instrument_id: (u32::from(self.channel) << 16) | u32::from(locate.get()),
            sequence: origin.sequence,
            ts_event: midnight.saturating_add(since_midnight),
            ts_recv: origin.ts_recv,
        }
    }

    /// Midnight by a packet's stamp; 0 if it can't be found.
    #[cold]
    fn find_midnight(&mut self, since_midnight: u64, ts_recv: u64) -> u64 {
        // A time beyond the day is no time; it must not shift all others.
        if ts_recv == 0 || since_midnight >= DAY {
            return 0;
        }
        let nearest = ts_recv
            .saturating_sub(since_midnight)
            .saturating_add(HOUR / 2);
        let midnight = (nearest / HOUR).saturating_mul(HOUR);
        self.midnight = Midnight::Found(midnight);
        midnight
    }

    /// One of the seven messages that make the book, as nearly all are.  `None`: give it to
    /// [`message`](event::Normalizer::message), which knows what is to be done with it.
    #[inline(always)]
    #[must_use]
    pub fn order_event(&self, bytes: &[u8], origin: Origin) -> Option<OrderEvent> {
        let midnight = match self.midnight {
            Midnight::Found(midnight) | Midnight::Given(midnight) => midnight,
            // Nothing will tell the day.
            Midnight::Unknown if origin.ts_recv == 0 => 0,
            Midnight::Unknown => return None,
        };
        self.order(bytes, origin, midnight)
    }

    /// One of the seven messages that make the book, without a branch on which.  `None` if it is none of them, or
    /// if there is more to it: [`rare`](Self::rare) knows what.
    #[inline(always)]
    fn order(&self, bytes: &[u8], origin: Origin, midnight: u64) -> Option<OrderEvent> {
        let layout = LAYOUTS.get(usize::from(*bytes.first()?))?;
        if layout.length == 0 || bytes.len() < usize::from(layout.length) {
            return None;
        }
        let [_, high, low, ..] = *bytes else {
            return None;
        };
        let locate = u16::from_be_bytes([high, low]);
        // The two bytes before the timestamp's six are not part of it.
        let timestamp = u64::from_be_bytes(field(bytes, 3)?) & 0xffff_ffff_ffff;
        let order_id = u64::from_be_bytes(field(bytes, NOWHERE)?);
        let size = u32::from_be_bytes(field(bytes, usize::from(layout.size))?) & layout.has_size;
        let px = u32::from_be_bytes(field(bytes, usize::from(layout.px))?) & layout.has_px;
        let other_id =
            u64::from_be_bytes(field(bytes, usize::from(layout.other_id))?) & layout.has_other_id;
        let letter = *bytes.get(usize::from(layout.letter))?;
        let sold = letter == b'S';
        let bad_side = layout.has_side & !sold & (letter != b'B');
        let unnamed = layout.has_side & !self.is_known(locate);
        if (locate == 0) | bad_side | unnamed {
            return None;
        }
        Some(OrderEvent {
            sequence: origin.sequence,
            ts_event: midnight.saturating_add(timestamp),
            ts_recv: origin.ts_recv,
            order_id,
            other_id,
            px: Price::from_4_decimals(i64::from(px)),
            instrument_id: (u32::from(self.channel) << 16) | u32::from(locate),
            size,
            kind: layout.kind,
            side: if layout.has_side & sold {
                Side::Ask
            } else {
                Side::Bid
            },
            printable: match layout.kind {
                OrderKind::Execute => true,
                // Anything but `Y` is kept out of the volume; the shares are gone either way.
                OrderKind::ExecuteAt => letter == b'Y',
                _ => false,
            },
            conditions: 0,
        })
    }

    /// Messages that don't make the book, and those of which something has to be learnt or refused first.
    #[inline(never)]
    fn rare<S: Sink>(
        &mut self,
        bytes: &[u8],
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        let Some(&message_type) = bytes.first() else {
            return Err(DecodeError::EmptyBlock);
        };
        let adds = match message_type {
            b'A' => {
                let m = view::<AddOrder>(bytes)?;
                side(m.buy_sell_indicator)?;
                true
            }
            b'F' => {
                let m = view::<AddOrderWithMpid>(bytes)?;
                side(m.buy_sell_indicator)?;
                true
            }
            b'D' => view::<OrderDelete>(bytes).map(|_| false)?,
            b'U' => view::<OrderReplace>(bytes).map(|_| false)?,
            b'E' => view::<OrderExecuted>(bytes).map(|_| false)?,
            b'X' => view::<OrderCancel>(bytes).map(|_| false)?,
            b'C' => view::<OrderExecutedWithPrice>(bytes).map(|_| false)?,
            message_type => {
                let (header, event) = self.other(message_type, bytes, origin)?;
                if let (Event::Definition(_), Ok(directory)) =
                    (&event, view::<StockDirectory>(bytes))
                {
                    self.learn(directory.stock_locate);
                }
                sink.event(&header, &event);
                return Ok(());
            }
        };
        // All seven have these fields at the same places.
        let common = view::<OrderDelete>(bytes)?;
        let locate = security(common.stock_locate)?;
        let header = self.header(locate, common.timestamp, origin);
        if adds && !self.learn(locate) {
            // A recording that begins in mid-day has no directory: the order names its stock.
            sink.event(&header, &Event::Definition(named(bytes)));
        }
        let midnight = self.midnight().unwrap_or(0);
        if let Some(order) = self.order(bytes, origin, midnight) {
            sink.order(&order);
        }
        Ok(())
    }

    /// All but the seven messages that make the book.
    #[inline(never)]
    fn other(
        &mut self,
        message_type: u8,
        bytes: &[u8],
        origin: Origin,
    ) -> Result<(Header, Event), DecodeError> {
        let (locate, timestamp, event) = match message_type {
            b'P' => {
                let m = view::<Trade>(bytes)?;
                let trade = event::Trade {
                    kind: TradeKind::Hidden,
                    // Told as `B` whatever the side is: see the type's documentation.
                    side: side_of(m.buy_sell_indicator).filter(|&side| side == Side::Ask),
                    px: m.price.price(),
                    size: u64::from(m.shares.get()),
                    trade_id: m.match_number.get(),
                    printable: true,
                    conditions: 0,
                };
                (security(m.stock_locate)?, m.timestamp, Event::Trade(trade))
            }
            b'Q' => {
                let m = view::<CrossTrade>(bytes)?;
                let size = m.shares.get();
                let trade = event::Trade {
                    kind: TradeKind::Cross,
                    side: None,
                    px: m.cross_price.price(),
                    size,
                    trade_id: m.match_number.get(),
                    printable: size != 0,
                    conditions: m.cross_type.0,
                };
                (security(m.stock_locate)?, m.timestamp, Event::Trade(trade))
            }
            b'B' => {
                let m = view::<BrokenTrade>(bytes)?;
                let trade_break = Event::TradeBreak {
                    trade_id: m.match_number.get(),
                    px: None,
                    size: 0,
                };
                (security(m.stock_locate)?, m.timestamp, trade_break)
            }
            b'I' => {
                let m = view::<Noii>(bytes)?;
                let imbalance = Imbalance {
                    auction_type: m.cross_type.0,
                    side: side_of(m.imbalance_direction),
                    paired_size: m.paired_shares.get(),
                    imbalance_size: m.imbalance_shares.get(),
                    reference_px: m.current_reference_price.price(),
                    near_px: m.near_price.price(),
                    far_px: m.far_price.price(),
                };
                (
                    security(m.stock_locate)?,
                    m.timestamp,
                    Event::Imbalance(imbalance),
                )
            }
            b'R' => {
                let m = view::<StockDirectory>(bytes)?;
                let definition = Definition {
                    symbol: m.stock.text(),
                    round_lot_size: m.round_lot_size.get(),
                    is_test: m.authenticity.0 == b'T',
                    is_etp: m.etp_flag.0 == b'Y',
                };
                (
                    security(m.stock_locate)?,
                    m.timestamp,
                    Event::Definition(definition),
                )
            }
            b'S' => {
                let m = view::<SystemEvent>(bytes)?;
                let action = match m.event_code.0 {
                    b'O' => StatusAction::StartOfMessages,
                    b'S' => StatusAction::PreOpen,
                    b'Q' => StatusAction::Trading,
                    b'M' => StatusAction::Close,
                    b'E' => StatusAction::PostClose,
                    b'C' => StatusAction::EndOfMessages,
                    _ => StatusAction::Other,
                };
                (
                    m.stock_locate,
                    m.timestamp,
                    status(action, m.event_code, b""),
                )
            }
            b'H' => {
                let m = view::<StockTradingAction>(bytes)?;
                let action = match m.trading_state.0 {
                    b'H' => StatusAction::Halt,
                    b'P' => StatusAction::Pause,
                    b'Q' => StatusAction::Quoting,
                    b'T' => StatusAction::Trading,
                    _ => StatusAction::Other,
                };
                let event = status(action, m.trading_state, &m.reason.0);
                (m.stock_locate, m.timestamp, event)
            }
            b'Y' => {
                let m = view::<RegShoRestriction>(bytes)?;
                let event = status(StatusAction::ShortSaleRestriction, m.reg_sho_action, b"");
                (m.locate_code, m.timestamp, event)
            }
            b'L' => {
                let m = view::<MarketParticipantPosition>(bytes)?;
                let event = status(
                    StatusAction::MarketParticipant,
                    m.market_participant_state,
                    &m.mpid.0,
                );
                (m.stock_locate, m.timestamp, event)
            }
            b'V' => {
                let m = view::<MwcbDeclineLevel>(bytes)?;
                let event = status(StatusAction::CircuitBreaker, m.message_type, b"");
                (m.stock_locate, m.timestamp, event)
            }
            b'W' => {
                let m = view::<MwcbStatus>(bytes)?;
                let event = status(StatusAction::CircuitBreaker, m.breached_level, b"");
                (m.stock_locate, m.timestamp, event)
            }
            b'K' => {
                let m = view::<IpoQuotingPeriodUpdate>(bytes)?;
                let event = status(StatusAction::Other, m.ipo_quotation_release_qualifier, b"");
                (m.stock_locate, m.timestamp, event)
            }
            b'J' => {
                let m = view::<LuldAuctionCollar>(bytes)?;
                let event = status(StatusAction::AuctionCollar, m.message_type, b"");
                (m.stock_locate, m.timestamp, event)
            }
            b'h' => {
                let m = view::<OperationalHalt>(bytes)?;
                let action = match m.operational_halt_action.0 {
                    b'H' => StatusAction::OperationalHalt,
                    b'T' => StatusAction::OperationalResume,
                    _ => StatusAction::Other,
                };
                let event = status(action, m.operational_halt_action, &[m.market_code.0]);
                (m.stock_locate, m.timestamp, event)
            }
            b'N' => {
                let m = view::<RetailPriceImprovementIndicator>(bytes)?;
                let event = status(StatusAction::RetailInterest, m.interest_flag, b"");
                (m.stock_locate, m.timestamp, event)
            }
            b'O' => {
                let m = view::<DirectListingWithCapitalRaise>(bytes)?;
                let event = status(StatusAction::Other, m.open_eligibility_status, b"");
                (m.stock_locate, m.timestamp, event)
            }
            message_type => {
                return Err(DecodeError::UnknownType {
                    protocol: PROTOCOL,
                    message_type,
                });
            }
        };
        Ok((self.header(locate, timestamp, origin), event))
    }
}

impl event::Normalizer for Normalizer {
    /// Maps one message by the table above.
    ///
    /// # Errors
    ///
    /// - [`DecodeError::EmptyBlock`], [`DecodeError::Truncated`], [`DecodeError::UnknownType`] as
    ///   [`Message::parse`](super::Message::parse);
    /// - [`DecodeError::BadValue`] if an added order is neither bought nor sold, or if a message about
    ///   an order, a trade or a security has stock locate 0.
    #[inline]
    fn message<S: Sink>(
        &mut self,
        bytes: &[u8],
        origin: Origin,
        sink: &mut S,
    ) -> Result<(), DecodeError> {
        // The messages that make the book first; they are nearly all of a day.
        if let Some(order) = self.order_event(bytes, origin) {
            sink.order(&order);
            return Ok(());
        }
        self.rare(bytes, origin, sink)
    }
}

/// Where the fields of a message are that [`OrderEvent`] has, and which it has.
#[derive(Debug, Clone, Copy)]
struct Layout {
    kind: OrderKind,
    /// Bytes of the message; 0 = it isn't one that makes the book.
    length: u8,
    size: u8,
    px: u8,
    other_id: u8,
    /// The letter that tells the side, or whether the execution counts.
    letter: u8,
    /// All ones if there is such a field, else 0.
    has_size: u32,
    has_px: u32,
    has_other_id: u64,
    /// Whether the letter is a side.
    has_side: bool,
}

/// Any place within every message: what is read there isn't used.
const NOWHERE: usize = offset_of!(OrderDelete, order_reference_number);

impl Layout {
    const NONE: Self = Self {
        kind: OrderKind::Delete,
        length: 0,
        size: 0,
        px: 0,
        other_id: 0,
        letter: 0,
        has_size: 0,
        has_px: 0,
        has_other_id: 0,
        has_side: false,
    };

    /// Offsets in a message of `length` bytes; [`NOWHERE`] = it has no such field.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "offsets within a message of at most 40 bytes"
    )]
    const fn new(
        kind: OrderKind,
        length: usize,
        size: usize,
        px: usize,
        other_id: usize,
        letter: usize,
    ) -> Self {
        Self {
            kind,
            length: length as u8,
            size: size as u8,
            px: px as u8,
            other_id: other_id as u8,
            letter: letter as u8,
            has_size: if size == NOWHERE { 0 } else { u32::MAX },
            has_px: if px == NOWHERE { 0 } else { u32::MAX },
            has_other_id: if other_id == NOWHERE { 0 } else { u64::MAX },
            has_side: matches!(kind, OrderKind::Add),
        }
    }
}

/// By type byte.  The seven messages have their common fields and the order's number at the same places.
#[allow(
    clippy::indexing_slicing,
    reason = "computed when compiled, from bytes into 256 places"
)]
static LAYOUTS: [Layout; 256] = {
    let mut layouts = [Layout::NONE; 256];
    layouts[b'A' as usize] = Layout::new(
        OrderKind::Add,
        size_of::<AddOrder>(),
        offset_of!(AddOrder, shares),
        offset_of!(AddOrder, price),
        NOWHERE,
        offset_of!(AddOrder, buy_sell_indicator),
    );
    layouts[b'F' as usize] = Layout::new(
        OrderKind::Add,
        size_of::<AddOrderWithMpid>(),
        offset_of!(AddOrderWithMpid, shares),
        offset_of!(AddOrderWithMpid, price),
        NOWHERE,
        offset_of!(AddOrderWithMpid, buy_sell_indicator),
    );
    layouts[b'E' as usize] = Layout::new(
        OrderKind::Execute,
        size_of::<OrderExecuted>(),
        offset_of!(OrderExecuted, executed_shares),
        NOWHERE,
        offset_of!(OrderExecuted, match_number),
        NOWHERE,
    );
    layouts[b'C' as usize] = Layout::new(
        OrderKind::ExecuteAt,
        size_of::<OrderExecutedWithPrice>(),
        offset_of!(OrderExecutedWithPrice, executed_shares),
        offset_of!(OrderExecutedWithPrice, execution_price),
        offset_of!(OrderExecutedWithPrice, match_number),
        offset_of!(OrderExecutedWithPrice, printable),
    );
    layouts[b'X' as usize] = Layout::new(
        OrderKind::Cancel,
        size_of::<OrderCancel>(),
        offset_of!(OrderCancel, canceled_shares),
        NOWHERE,
        NOWHERE,
        NOWHERE,
    );
    layouts[b'D' as usize] = Layout::new(
        OrderKind::Delete,
        size_of::<OrderDelete>(),
        NOWHERE,
        NOWHERE,
        NOWHERE,
        NOWHERE,
    );
    layouts[b'U' as usize] = Layout::new(
        OrderKind::Replace,
        size_of::<OrderReplace>(),
        offset_of!(OrderReplace, shares),
        offset_of!(OrderReplace, price),
        offset_of!(OrderReplace, new_order_reference_number),
        NOWHERE,
    );
    layouts
};

/// The bytes of a field.
#[inline(always)]
fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

/// What an added order tells of its instrument: `A` and `F` have the stock at the same offset.
#[cold]
fn named(bytes: &[u8]) -> Definition {
    Definition {
        symbol: Text::from_padded(bytes.get(24..32).unwrap_or_default()),
        round_lot_size: 0,
        is_test: false,
        is_etp: false,
    }
}

/// A typed view of a message whose type byte was looked at.
#[inline]
fn view<T>(bytes: &[u8]) -> Result<&T, DecodeError>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned + Fields,
{
    match T::ref_from_prefix(bytes) {
        Ok((message, _)) => Ok(message),
        Err(_) => Err(DecodeError::Truncated {
            what: T::NAME,
            need: size_of::<T>(),
            have: bytes.len(),
        }),
    }
}

/// The locate of a message that must concern a security.
#[inline]
fn security(locate: U16) -> Result<U16, DecodeError> {
    if locate == U16::ZERO {
        return Err(DecodeError::BadValue {
            field: "stock_locate",
            value: 0,
        });
    }
    Ok(locate)
}

/// The side of an order.
#[inline]
fn side(indicator: Char) -> Result<Side, DecodeError> {
    side_of(indicator).ok_or(DecodeError::BadValue {
        field: "buy_sell_indicator",
        value: u64::from(indicator.0),
    })
}

/// A side, where one is told.
#[inline]
fn side_of(indicator: Char) -> Option<Side> {
    match indicator.0 {
        b'B' => Some(Side::Bid),
        b'S' => Some(Side::Ask),
        _ => None,
    }
}

fn status(action: StatusAction, code: Char, reason: &[u8]) -> Event {
    Event::Status(Status {
        action,
        code: code.0,
        reason: Text::from_padded(reason),
    })
}
