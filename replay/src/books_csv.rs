//! Books as rows: one for each message that changes a book.
//!
//! Columns: `packet,session,sequence,symbol,bid_levels,ask_levels`, then for each of the asked levels
//! `bid_px_NN,bid_sz_NN,bid_ct_NN,ask_px_NN,ask_sz_NN,ask_ct_NN`, best first; a level that isn't there
//! leaves its three fields empty.  Prices are decimals.  `bid_levels` and `ask_levels` count all levels.
//! A level venue doesn't tell order counts: its `ct` is 0.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::rc::Rc;

use tickcast_book::Market;
use tickcast_codecs::event::Header;
use tickcast_codecs::types::{Level, Side};
use tickcast_codecs::{SessionId, Symbol};
use tickcast_feed::shard::Observer;

/// Writes rows.
pub struct BooksCsv {
    out: Box<dyn Write>,
    depth: usize,
    packet: u64,
    rows: u64,
    line: String,
    error: Option<io::Error>,
}

impl BooksCsv {
    /// Writes the column names to `out`.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn new(mut out: Box<dyn Write>, depth: usize) -> io::Result<Self> {
        let mut line = String::from("packet,session,sequence,symbol,bid_levels,ask_levels");
        for level in 0..depth {
            for side in ["bid", "ask"] {
                for field in ["px", "sz", "ct"] {
                    let _ = write!(line, ",{side}_{field}_{level:02}");
                }
            }
        }
        line.push('\n');
        out.write_all(line.as_bytes())?;
        Ok(Self {
            out,
            depth,
            packet: 0,
            rows: 0,
            line,
            error: None,
        })
    }

    /// The packet that the next rows come from.
    pub fn set_packet(&mut self, packet: u64) {
        self.packet = packet;
    }

    /// Rows written.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    ///
    /// The first error of any write since the start.
    pub fn finish(&mut self) -> io::Result<()> {
        match self.error.take() {
            Some(error) => Err(error),
            None => self.out.flush(),
        }
    }

    /// Whether a write has failed: there is no sense in going on.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.error.is_some()
    }

    fn row(&mut self, market: &Market, session: SessionId, header: &Header) {
        if self.error.is_some() {
            return;
        }
        let id = header.instrument_id;
        let symbol = market
            .definition(id)
            .map_or_else(Symbol::default, |definition| definition.symbol);
        let book = market.book(id);
        self.line.clear();
        let _ = write!(self.line, "{},", self.packet);
        field(&mut self.line, &session.to_string());
        let _ = write!(self.line, ",{},", header.sequence);
        field(&mut self.line, &symbol.to_string());
        let _ = write!(
            self.line,
            ",{},{}",
            book.level_count(Side::Bid),
            book.level_count(Side::Ask)
        );
        let (mut bids, mut asks) = (book.bids(), book.asks());
        for _ in 0..self.depth {
            level(&mut self.line, bids.next());
            level(&mut self.line, asks.next());
        }
        self.line.push('\n');
        match self.out.write_all(self.line.as_bytes()) {
            Ok(()) => self.rows += 1,
            Err(error) => self.error = Some(error),
        }
    }
}

/// Text of the wire in a field: quoted where RFC 4180 asks for it.
fn field(line: &mut String, text: &str) {
    if text.contains([',', '"']) {
        let _ = write!(line, "\"{}\"", text.replace('"', "\"\""));
    } else {
        line.push_str(text);
    }
}

fn level(line: &mut String, level: Option<Level>) {
    let _ = match level {
        Some(level) => write!(line, ",{},{},{}", level.px, level.size, level.count),
        None => write!(line, ",,,"),
    };
}

/// The rows of all channels go to one writer, or nowhere.
#[derive(Clone, Default)]
pub struct Rows(pub Option<Rc<RefCell<BooksCsv>>>);

impl Observer for Rows {
    #[inline]
    fn book_changed(&mut self, market: &Market, session: SessionId, header: &Header) {
        if let Some(csv) = &self.0 {
            csv.borrow_mut().row(market, session, header);
        }
    }
}
