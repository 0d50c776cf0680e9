// The tickcast client: subscriber protocol version 1 over WebSocket, for browsers and Node.
//
// It connects, subscribes, keeps books by price, and trusts nothing: every message must continue the
// chain (`prev` is the `seq` before it), and every checksum that comes is computed again from the local
// book.  A book that fails either check is withheld until the snapshot it asks for has come.  A lost
// connection is made again with jittered backoff, and everything is subscribed again.
//
// Prices and sizes are integers and stay so: `BigInt` everywhere, prices in units of 10^-9.  (JSON
// numbers hold integers to 2^53; above that the server sends decimal strings.)
//
// It doesn't rebuild books from orders (`mbo` is handed on message by message), doesn't resume a
// session (a fresh subscription begins with a snapshot), and doesn't truncate books: what enters and
// leaves the depth is the server's word.
//
//     import { Client, formatPrice } from './tickcast.js';
//     const client = new Client('ws://127.0.0.1:8080/v1/ws');
//     client.subscribe({ schema: 'mbp-10', venue: 'XNAS', symbols: ['AAPL'], checksum: true },
//       (message, topic) => {
//         const [px, size] = topic.book.bids[0] ?? [];
//         if (px !== undefined) console.log(formatPrice(px), size);
//       });

/** Units of a price in 1. */
export const PRICE_SCALE = 1_000_000_000n;

/** Flag bits of a data message. */
export const Flag = Object.freeze({
  /** The last message of an event, or of a chunked snapshot. */
  LAST: 0x80,
  /** Part of a snapshot. */
  SNAPSHOT: 0x20,
  /** The book may be wrong: its stream named orders that it never told, or a gap is open.  See `staleBooks`. */
  MAYBE_BAD_BOOK: 0x04,
  /** The first message of a chunked snapshot. */
  CLEAR: 0x01,
});

/** The state of the connection: `client.state`. */
export const State = Object.freeze({
  /** A socket is being opened. */
  CONNECTING: 'connecting',
  /** The server has welcomed us. */
  LIVE: 'live',
  /** The connection is lost; the next attempt is at `client.retryAt`. */
  WAITING: 'waiting',
  /** The server refused us for good: `client.reason` says why. */
  REFUSED: 'refused',
  /** `close()` was called. */
  CLOSED: 'closed',
});

// A dead peer is seldom told by the network; the server's heartbeat is once a second.
const SILENCE_MS = 6_000;
const CHECK_MS = 1_000;
// Full jitter: a random part of a doubling bound, so that subscribers don't come back all at once.
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MS_MAX = 20_000;
// A connection that lived this long was a good one: the next loss begins with the first delay again.
const STABLE_MS = 10_000;
// Snapshots of a topic aren't asked for faster than this, however wrong its messages are.
const SNAPSHOT_INTERVAL_MS = 500;
// Bad request, unauthorized, forbidden: coming back with the same request can't help.
const FATAL_CLOSE_CODES = new Set([4400, 4401, 4403]);
const CHECKSUM_LEVELS = 10;
// The server writes integers beyond this as strings, so this one is itself and not a rounded neighbour.
const NUMBER_MAX = 2 ** 53;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

/** CRC32 (ISO-HDLC, as in zlib) of bytes. */
export function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 0xff];
  return (crc ^ 0xffffffff) >>> 0;
}

/**
 * An integer of the protocol as a BigInt: a JSON number to 2^53, a decimal string above.
 * Throws a TypeError for anything else, so that a rounded number can't pass for a price.
 */
export function integer(value) {
  if (Number.isInteger(value) && Math.abs(value) <= NUMBER_MAX) return BigInt(value);
  if (typeof value === 'string' && /^-?\d{1,20}$/.test(value)) return BigInt(value);
  throw new TypeError(`not an integer of the protocol: ${JSON.stringify(value)}`);
}

/** How many decimals a price needs, 0 to 9. */
export function decimalsOf(px) {
  let decimals = 9;
  let rest = px;
  while (decimals > 0 && rest % 10n === 0n) {
    rest /= 10n;
    decimals -= 1;
  }
  return decimals;
}

/** A price as decimal text with at least `decimals` decimals; exact, never rounded. */
export function formatPrice(px, decimals = 2) {
  const units = px < 0n ? -px : px;
  const whole = units / PRICE_SCALE;
  const fraction = (units % PRICE_SCALE).toString().padStart(9, '0');
  const shown = fraction.slice(0, Math.max(decimals, decimalsOf(px)));
  return `${px < 0n ? '-' : ''}${whole}${shown === '' ? '' : `.${shown}`}`;
}

/** A book by price: `bids` and `asks` are arrays of `[px, size, count]`, best first. */
export class Book {
  bids = [];
  asks = [];

  /** Replaces everything. */
  reset(bids, asks) {
    this.bids = bids.map(level);
    this.asks = asks.map(level);
  }

  /** Sets the levels given; size 0 removes one. */
  update(bids, asks) {
    for (const wire of bids) setLevel(this.bids, level(wire), true);
    for (const wire of asks) setLevel(this.asks, level(wire), false);
  }

  /** CRC32 over the top levels as little-endian integers: asks best first, then bids; i64 px, u64 size. */
  checksum() {
    const asks = this.asks.slice(0, CHECKSUM_LEVELS);
    const bids = this.bids.slice(0, CHECKSUM_LEVELS);
    const view = new DataView(new ArrayBuffer((asks.length + bids.length) * 16));
    let at = 0;
    for (const side of [asks, bids]) {
      for (const [px, size] of side) {
        view.setBigInt64(at, px, true);
        view.setBigUint64(at + 8, size, true);
        at += 16;
      }
    }
    return crc32(new Uint8Array(view.buffer));
  }
}

function level([px, size, count]) {
  return [integer(px), integer(size), count ?? 0];
}

function setLevel(levels, entry, descending) {
  const px = entry[0];
  let low = 0;
  let high = levels.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const before = descending ? levels[middle][0] > px : levels[middle][0] < px;
    if (before) low = middle + 1;
    else high = middle;
  }
  const found = low < levels.length && levels[low][0] === px;
  if (entry[1] === 0n) {
    if (found) levels.splice(low, 1);
  } else if (found) {
    levels[low] = entry;
  } else {
    levels.splice(low, 0, entry);
  }
}

/** What one knows of one schema of one instrument. */
export class Topic {
  constructor(subscription, schema, instrumentId, symbol) {
    this.subscription = subscription;
    this.schema = schema;
    this.instrumentId = instrumentId;
    this.symbol = symbol;
    /** The local book; `null` for schemas that aren't books by price. */
    this.book = schema.startsWith('mbp-') ? new Book() : null;
    /** Whether the book is the server's: false before the first snapshot and after a failed check. */
    this.valid = false;
    /** The `seq` of the last message, or `null`. */
    this.seq = null;
    /** The flags of the last message. */
    this.flags = 0;
    /** How often the checksum agreed, and disagreed. */
    this.checksumsOk = 0;
    this.checksumsBad = 0;
    /** How often the chain broke without a word of the server. */
    this.chainBreaks = 0;
    /** Messages that the server said it skipped. */
    this.skipped = 0n;
    this.snapshotAskedAt = -Infinity;
  }
}

/** One subscription; made by `Client.subscribe`, outlives connections. */
export class Subscription {
  constructor(client, request, onMessage) {
    this.client = client;
    this.request = request;
    this.onMessage = onMessage;
    /** The server's number of it on this connection, or `null`. */
    this.sub = null;
    /** What the server granted, or `null`. */
    this.effective = null;
    /** The symbols that it refused: `[{ symbol, code }]`. */
    this.failed = [];
    /** By instrument id. */
    this.topics = new Map();
  }

  /** Ends it. */
  close() {
    this.client.unsubscribe(this);
  }
}

/**
 * A connection that comes back.
 *
 * Events (`addEventListener`; what happened is in `event.detail`):
 * - `state`: the connection's state changed;
 * - `channels`: states of the venue's channels (`client.channels`) were told;
 * - `books`: a book became stale by a fault of its own, or live again (`client.staleBooks`);
 * - `subscribed`: `{ subscription }` was answered, failures included;
 * - `fault`: `{ kind: 'chain' | 'checksum', topic, message }`: a check failed; a book mends itself;
 * - `error`: `{ code, message, subscription }`: the server refused a request, or a message was no protocol;
 * - `control`: any other control message: `slow_warning`, `effective`, `shutdown`, …
 *
 * Options: `token` (sent as an `auth` request), `WebSocket` (the constructor, where it isn't global).
 */
export class Client extends EventTarget {
  state = State.CONNECTING;
  reason = '';
  retryAt = 0;
  attempts = 0;
  welcome = null;
  /** `channel` -> `{ channel, venue, state }`. */
  channels = new Map();
  /**
   * The instruments whose books have a fault of their own.  A book can be trusted if it isn't one of these and
   * its channel's state is `live`; the flag of its last message only says what held then.
   */
  staleBooks = new Set();
  /** Messages and characters received, of all kinds. */
  received = { messages: 0, chars: 0 };

  #url;
  #token;
  #WebSocket;
  #socket = null;
  #subscriptions = new Set();
  #pending = new Map();
  #topics = new Map();
  #nextId = 1;
  #heardAt = 0;
  #checkedAt = 0;
  #silentChecks = 0;
  #liveSince = null;
  #retryTimer = null;
  #checkTimer;

  constructor(url, options = {}) {
    super();
    this.#url = String(url);
    this.#token = options.token ?? null;
    this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
    this.#checkTimer = setInterval(() => this.#check(), CHECK_MS);
    this.#connect();
  }

  /**
   * Subscribes, now and after every reconnect.  `request` is the protocol's request without `op` and
   * `id`; `onMessage(message, topic)` gets every data message that passed the checks, in order.
   */
  subscribe(request, onMessage) {
    // Books are kept in integers; decimal strings are for readers without a client.
    const subscription = new Subscription(this, { ...request, decimal: false }, onMessage);
    this.#subscriptions.add(subscription);
    if (this.state === State.LIVE) this.#sendSubscribe(subscription);
    return subscription;
  }

  /** Ends a subscription. */
  unsubscribe(subscription) {
    if (!this.#subscriptions.delete(subscription)) return;
    for (const [key, topic] of this.#topics) {
      if (topic.subscription === subscription) this.#topics.delete(key);
    }
    if (this.state === State.LIVE && subscription.sub !== null) {
      this.#send({ op: 'unsubscribe', id: this.#id(), sub: subscription.sub });
    }
    // One that isn't answered yet is ended when its answer comes.
  }

  /** Sends a request of the caller's own; its answer comes as a `control` or `error` event. */
  request(request) {
    const id = this.#id();
    this.#send({ ...request, id });
    return id;
  }

  /** Doesn't wait for the backoff. */
  reconnectNow() {
    if (this.state !== State.WAITING) return;
    clearTimeout(this.#retryTimer);
    this.#connect();
  }

  /** Ends the connection for good. */
  close() {
    clearTimeout(this.#retryTimer);
    clearInterval(this.#checkTimer);
    this.#abandon();
    this.#setState(State.CLOSED, '');
  }

  #id() {
    const id = this.#nextId;
    this.#nextId += 1;
    return id;
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #setState(state, reason) {
    this.state = state;
    this.reason = reason;
    this.#emit('state', { state, reason });
  }

  #send(request) {
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(request));
  }

  #connect() {
    this.attempts += 1;
    this.#setState(State.CONNECTING, '');
    const socket = new this.#WebSocket(this.#url, 'tickcast.v1.json');
    this.#socket = socket;
    this.#heardAt = performance.now();
    this.#silentChecks = 0;
    socket.onopen = () => {
      if (this.#token !== null) this.#send({ op: 'auth', token: this.#token });
    };
    socket.onmessage = (event) => {
      if (socket === this.#socket) this.#receive(event.data);
    };
    socket.onclose = (event) => {
      if (socket === this.#socket) this.#lost(event.code, event.reason);
    };
    // `close` follows and says more.
    socket.onerror = () => {};
  }

  // Closes the socket without waiting for the closing handshake, which a dead peer never answers.
  #abandon() {
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    this.#pending.clear();
    this.#topics.clear();
    for (const subscription of this.#subscriptions) {
      subscription.sub = null;
      for (const topic of subscription.topics.values()) topic.valid = false;
    }
  }

  #lost(code, text) {
    const lived = this.#liveSince === null ? 0 : performance.now() - this.#liveSince;
    this.#liveSince = null;
    this.#abandon();
    const reason = text || (code === 1006 ? 'connection lost' : `closed with code ${code}`);
    if (FATAL_CLOSE_CODES.has(code)) {
      clearInterval(this.#checkTimer);
      this.#setState(State.REFUSED, reason);
      return;
    }
    if (lived > STABLE_MS) this.attempts = 0;
    const doublings = Math.min(Math.max(this.attempts - 1, 0), 10);
    const bound = Math.min(BACKOFF_MS_MAX, BACKOFF_FIRST_MS * 2 ** doublings);
    const delay = bound / 4 + Math.random() * bound * 0.75;
    this.retryAt = Date.now() + delay;
    this.#retryTimer = setTimeout(() => this.#connect(), delay);
    this.#setState(State.WAITING, reason);
  }

  // Two silent checks at their proper distance: a browser that slept wakes with messages to read.
  #check() {
    const now = performance.now();
    const slept = now - this.#checkedAt > 3 * CHECK_MS;
    this.#checkedAt = now;
    if (this.#socket === null || slept || now - this.#heardAt < SILENCE_MS) {
      this.#silentChecks = 0;
      return;
    }
    this.#silentChecks += 1;
    if (this.#silentChecks >= 2) this.#lost(1006, 'no heartbeat');
  }

  #sendSubscribe(subscription) {
    const id = this.#id();
    this.#pending.set(id, subscription);
    this.#send({ op: 'subscribe', id, ...subscription.request });
  }

  #retry(subscription) {
    const pending = [...this.#pending.values()].includes(subscription);
    if (this.state !== State.LIVE || pending || subscription.sub !== null) return;
    if (this.#subscriptions.has(subscription)) this.#sendSubscribe(subscription);
  }

  #receive(text) {
    this.#heardAt = performance.now();
    this.#silentChecks = 0;
    this.received.chars += text.length;
    try {
      const parsed = JSON.parse(text);
      for (const message of Array.isArray(parsed) ? parsed : [parsed]) this.#message(message);
    } catch (error) {
      this.#emit('error', { code: 'bad_message', message: String(error), subscription: null });
    }
  }

  #message(message) {
    this.received.messages += 1;
    if (message.schema !== undefined && message.instrument_id !== undefined) {
      this.#data(message);
      return;
    }
    switch (message.type) {
      case 'welcome':
        this.welcome = message;
        this.#liveSince = performance.now();
        this.channels.clear();
        this.staleBooks.clear();
        this.#setState(State.LIVE, '');
        this.#setChannels(message.channels);
        for (const subscription of this.#subscriptions) this.#sendSubscribe(subscription);
        break;
      case 'heartbeat':
        this.#setChannels(message.channels);
        break;
      case 'state':
        this.#setChannels([message]);
        break;
      case 'book_state':
        this.#setBook(message.instrument_id, message.state);
        break;
      case 'subscribed':
        this.#subscribed(message);
        break;
      case 'error': {
        const subscription = this.#pending.get(message.id) ?? null;
        this.#pending.delete(message.id);
        if (subscription !== null && message.retry_after_ms > 0) {
          setTimeout(() => this.#retry(subscription), message.retry_after_ms);
        }
        this.#emit('error', { code: message.code, message: message.message, subscription });
        break;
      }
      default:
        this.#emit('control', message);
    }
  }

  #setChannels(channels = []) {
    for (const { channel, venue, state } of channels) {
      const known = this.channels.get(channel);
      this.channels.set(channel, { channel, venue: venue ?? known?.venue ?? '', state });
    }
    this.#emit('channels', { channels: this.channels });
  }

  #setBook(instrumentId, state) {
    if (state === 'stale') this.staleBooks.add(instrumentId);
    else this.staleBooks.delete(instrumentId);
    this.#emit('books', { instrumentId });
  }

  #subscribed(answer) {
    if (answer.id === undefined) {
      // Instruments that a pattern takes in later.
      for (const subscription of this.#subscriptions) {
        if (subscription.sub === answer.sub) this.#adoptAll(subscription, answer);
      }
      return;
    }
    const subscription = this.#pending.get(answer.id);
    if (subscription === undefined) return;
    this.#pending.delete(answer.id);
    if (!this.#subscriptions.has(subscription)) {
      this.#send({ op: 'unsubscribe', id: this.#id(), sub: answer.sub });
      return;
    }
    subscription.sub = answer.sub;
    subscription.effective = answer.effective ?? null;
    subscription.failed = answer.failed ?? [];
    this.#adoptAll(subscription, answer);
  }

  #adoptAll(subscription, answer) {
    for (const { symbol, instrument_id: id, state } of answer.symbols ?? []) {
      this.#adopt(subscription, id, symbol);
      this.#setBook(id, state);
    }
    this.#emit('subscribed', { subscription });
  }

  // Begins a topic on this connection; the counters of earlier connections go on.
  #adopt(subscription, instrumentId, symbol) {
    const { schema } = subscription.request;
    let topic = subscription.topics.get(instrumentId);
    if (topic === undefined) {
      topic = new Topic(subscription, schema, instrumentId, symbol);
      subscription.topics.set(instrumentId, topic);
    }
    topic.seq = null;
    topic.valid = false;
    this.#topics.set(`${schema}/${instrumentId}`, topic);
  }

  #data(message) {
    // What has no topic was in flight when we unsubscribed.
    const topic = this.#topics.get(`${message.schema}/${message.instrument_id}`);
    if (topic === undefined) return;
    const seq = integer(message.seq);
    if (message.type === 'snapshot' || message.type === 'orders_snapshot') {
      topic.seq = seq;
      topic.flags = message.flags;
      topic.book?.reset(message.bids, message.asks);
      topic.valid = true;
      if (!this.#checksumAgrees(topic, message)) return;
    } else if (message.type === 'gap') {
      // The server says what it skipped; whatever comes next begins the chain again.
      topic.seq = null;
      topic.skipped += integer(message.count);
    } else {
      const linked = topic.seq === null || integer(message.prev) === topic.seq;
      if (topic.book !== null && !topic.valid) {
        this.#askSnapshot(topic);
        return;
      }
      topic.seq = seq;
      topic.flags = message.flags;
      if (!linked) {
        topic.chainBreaks += 1;
        if (topic.book !== null) this.#askSnapshot(topic);
        this.#emit('fault', { kind: 'chain', topic, message });
        if (topic.book !== null) return;
      }
      if (message.type === 'update') {
        topic.book.update(message.bids, message.asks);
        if (!this.#checksumAgrees(topic, message)) return;
      }
    }
    topic.subscription.onMessage?.(message, topic);
  }

  #checksumAgrees(topic, message) {
    if (topic.book === null || message.checksum === undefined || message.checksum === null) return true;
    if (topic.book.checksum() === message.checksum) {
      topic.checksumsOk += 1;
      return true;
    }
    topic.checksumsBad += 1;
    this.#askSnapshot(topic);
    this.#emit('fault', { kind: 'checksum', topic, message });
    return false;
  }

  #askSnapshot(topic) {
    topic.valid = false;
    const now = performance.now();
    if (now - topic.snapshotAskedAt < SNAPSHOT_INTERVAL_MS) return;
    topic.snapshotAskedAt = now;
    this.#send({ op: 'snapshot', id: this.#id(), sub: topic.subscription.sub });
  }
}
