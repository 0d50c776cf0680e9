// The page: one instrument's book, trades and status, as a subscriber like any other sees them.
//
// Messages only change state; the screen is drawn once a frame from what is there then.  What the page
// shows of its own connection (rate, chain, checksums, age of the data) is counted here, not told.

import { FeedPanel } from '/feeds.js';
import { colors, compact, element, label, quantity, readColors, surface, text } from '/screen.js';
import { Client, State, decimalsOf, formatPrice } from '/tickcast.js';

const DEPTH = 10;
const CONFLATE_MS = 50;
const TAPE_ROWS_MAX = 100;
const LINE_TRADES_MAX = 400;
const OPTIONS_SHOWN_MAX = 300;
const LATENCIES_KEPT = 512;
const LIST_RETRY_MS = 2_000;

const calm = matchMedia('(prefers-reduced-motion: reduce)');
const narrow = matchMedia('(max-width: 63.99em)');

// ---------------------------------------------------------------------------- the instrument shown

const view = {
  instrument: null,
  subscriptions: [],
  topic: null,
  refused: '',
  decimals: 2,
  updates: 0,
  lastTouched: new Map(),
  trades: [],
  newTrades: [],
  broken: new Set(),
  status: null,
  checksumsOk: 0,
  faults: { checksum: 0, chain: 0 },
  skipped: 0n,
  bookLatency: latencies(),
  tradeLatency: latencies(),
  dirty: true,
};

const client = new Client(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/v1/ws`);

function show(instrument) {
  if (view.instrument?.venue === instrument.venue && view.instrument?.symbol === instrument.symbol) return;
  for (const subscription of view.subscriptions) subscription.close();
  Object.assign(view, {
    instrument,
    topic: null,
    refused: '',
    decimals: 2,
    updates: 0,
    lastTouched: new Map(),
    trades: [],
    newTrades: [],
    broken: new Set(),
    status: null,
    checksumsOk: 0,
    faults: { checksum: 0, chain: 0 },
    skipped: 0n,
    bookLatency: latencies(),
    tradeLatency: latencies(),
    dirty: true,
  });
  const of = { venue: instrument.venue, symbols: [instrument.symbol] };
  view.subscriptions = [
    client.subscribe({ schema: 'mbp-10', ...of, conflate_ms: CONFLATE_MS, checksum: true }, onBook),
    client.subscribe({ schema: 'trades', ...of }, onTrade),
    client.subscribe({ schema: 'status', ...of }, onStatus),
  ];
  element('trades').replaceChildren();
  const hash = `#${encodeURIComponent(instrument.venue)}/${encodeURIComponent(instrument.symbol)}`;
  if (location.hash !== hash) history.replaceState(null, '', hash);
  document.title = `${instrument.symbol} · tickcast`;
  text(element('symbol'), instrument.symbol);
  text(element('venue'), instrument.venue);
  markSelected();
  drawSoon();
}

function onBook(message, topic) {
  if (topic.subscription !== view.subscriptions[0]) return;
  view.topic = topic;
  if (message.type === 'snapshot' || message.type === 'update') {
    view.updates += 1;
    for (const side of [topic.book.bids, topic.book.asks]) {
      for (const [px] of side) view.decimals = Math.max(view.decimals, decimalsOf(px));
    }
    view.bookLatency.add(message);
  }
  drawSoon();
}

function onTrade(message, topic) {
  if (topic.subscription !== view.subscriptions[1]) return;
  if (message.type === 'trade') {
    const trade = {
      px: BigInt(message.px),
      size: BigInt(message.size),
      time: BigInt(message.ts_event),
      resting: message.side,
      kind: message.kind,
      printable: message.printable,
      id: String(message.trade_id),
    };
    view.trades.push(trade);
    if (view.trades.length > LINE_TRADES_MAX) view.trades.shift();
    view.newTrades.push(trade);
    if (view.newTrades.length > TAPE_ROWS_MAX) view.newTrades.shift();
    view.tradeLatency.add(message);
  } else if (message.type === 'gap') {
    view.skipped = topic.skipped;
  } else if (message.type === 'trade_break') {
    const id = String(message.trade_id);
    view.trades = view.trades.filter((trade) => trade.id !== id);
    view.broken.add(id);
  }
  drawSoon();
}

function onStatus(message, topic) {
  if (topic.subscription !== view.subscriptions[2]) return;
  if (message.type === 'status') view.status = message;
  drawSoon();
}

client.addEventListener('fault', ({ detail }) => {
  if (!view.subscriptions.includes(detail.topic.subscription)) return;
  view.faults[detail.kind] += 1;
  drawSoon();
});

client.addEventListener('subscribed', ({ detail }) => {
  if (detail.subscription !== view.subscriptions[0]) return;
  const failed = detail.subscription.failed[0];
  view.refused = failed === undefined ? '' : `${failed.symbol}: ${failed.code.replaceAll('_', ' ')}`;
  drawSoon();
});

client.addEventListener('error', ({ detail }) => {
  if (detail.subscription === view.subscriptions[0] && detail.subscription !== undefined) {
    view.refused = `${detail.code}: ${detail.message}`;
    drawSoon();
  } else if (detail.code === 'bad_message') {
    console.error(detail.message);
  }
});

// ---------------------------------------------------------------------------- latency, from the server's stamps

function latencies() {
  const micros = [];
  let at = 0;
  return {
    add(message) {
      // Past 2^53 as integers: subtract first, round after.
      const taken = Number(BigInt(message.ts_out) - BigInt(message.ts_recv)) / 1000;
      if (taken < 0) return;
      micros[at] = taken;
      at = (at + 1) % LATENCIES_KEPT;
    },
    summary() {
      if (micros.length === 0) return '–';
      const sorted = micros.toSorted((a, b) => a - b);
      const at99 = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.99))];
      return `${micro(sorted[sorted.length >> 1])} · p99 ${micro(at99)}`;
    },
  };
}

function micro(value) {
  return `${value < 100 ? value.toFixed(1) : quantity.format(Math.round(value))} µs`;
}

// ---------------------------------------------------------------------------- the ladder

function ladderRows(tbody, side) {
  const rows = [];
  for (let index = 0; index < DEPTH; index += 1) {
    const row = tbody.insertRow();
    row.ariaHidden = 'true';
    const cells = Array.from({ length: 7 }, (_, column) => {
      const cell = document.createElement(column === 3 ? 'th' : 'td');
      row.append(cell);
      return cell;
    });
    cells[3].scope = 'row';
    cells[3].className = 'price';
    cells[0].className = cells[6].className = 'sum';
    cells[1].className = cells[5].className = 'count';
    cells[2].className = 'bid size';
    cells[4].className = 'ask size';
    const own = side === 'bid' ? { sum: 0, count: 1, size: 2 } : { sum: 6, count: 5, size: 4 };
    const fill = document.createElement('span');
    fill.className = 'fill';
    const number = document.createElement('span');
    number.className = 'number';
    cells[own.size].append(fill, number);
    rows.push({ side, row, price: cells[3], fill, number, count: cells[own.count], sum: cells[own.sum] });
  }
  return rows;
}

const bidRows = ladderRows(element('bids'), 'bid');
// Asks stand above the spread with the best at the bottom.
const askRows = ladderRows(element('asks'), 'ask').reverse();

const FLASH = {
  more: [{ backgroundColor: 'var(--flash-more)' }, { backgroundColor: 'transparent' }],
  less: [{ backgroundColor: 'var(--flash-less)' }, { backgroundColor: 'transparent' }],
};

function drawLadder() {
  const ladder = element('ladder');
  const book = view.topic?.book;
  const empty = !book || (book.bids.length === 0 && book.asks.length === 0);
  element('ladder-empty').hidden = !empty && view.refused === '';
  text(element('ladder-empty'), view.refused || (view.topic?.valid ? 'the book is empty' : 'waiting for a snapshot'));
  const bids = book ? book.bids.slice(0, DEPTH) : [];
  const asks = book ? book.asks.slice(0, DEPTH) : [];
  let most = 1n;
  for (const [, size] of [...bids, ...asks]) if (size > most) most = size;
  const touched = new Map();
  const bidTotal = drawSide(bidRows, bids, most, touched);
  const askTotal = drawSide(askRows, asks, most, touched);
  view.lastTouched = touched;
  ladder.dataset.updates = String(view.updates);

  const [bid] = bids;
  const [ask] = asks;
  if (bid && ask) {
    text(element('spread'), formatPrice(ask[0] - bid[0], view.decimals));
    // Half a unit of 10^-9 is lost at most.
    text(element('mid'), formatPrice((bid[0] + ask[0]) / 2n, view.decimals));
  } else {
    text(element('spread'), '–');
    text(element('mid'), '–');
  }
  const all = bidTotal + askTotal;
  text(element('balance'), all === 0n ? '–' : `${Number((bidTotal * 100n) / all)}%`);
  drawDepth(bids, asks);
}

function drawSide(rows, levels, most, touched) {
  let total = 0n;
  rows.forEach((cells, index) => {
    const entry = levels[index];
    if (entry === undefined) {
      // Stays as an empty row: the middle must not jump when a level goes.
      if (cells.row.dataset.px !== undefined) clearRow(cells);
      return;
    }
    const [px, size, count] = entry;
    total += size;
    const key = `${cells.side}${px}`;
    touched.set(key, size);
    const before = view.lastTouched.get(key);
    if (view.lastTouched.size > 0 && before !== size && !calm.matches) {
      const grown = before === undefined || size > before;
      cells.number.animate(grown ? FLASH.more : FLASH.less, { duration: 450, easing: 'ease-out' });
    }
    cells.row.ariaHidden = null;
    cells.row.dataset.side = cells.side;
    cells.row.dataset.px = String(px);
    cells.row.dataset.size = String(size);
    text(cells.price, formatPrice(px, view.decimals));
    text(cells.number, quantity.format(size));
    // Venues that tell levels don't tell orders.
    text(cells.count, count === 0 ? '' : String(count));
    text(cells.sum, quantity.format(total));
    cells.fill.style.transform = `scaleX(${Number((size * 1000n) / most) / 1000})`;
  });
  return total;
}

function clearRow({ row, price, number, count, sum, fill }) {
  row.ariaHidden = 'true';
  for (const key of ['side', 'px', 'size']) delete row.dataset[key];
  for (const node of [price, number, count, sum]) text(node, '');
  fill.style.transform = 'scaleX(0)';
}

// ---------------------------------------------------------------------------- pictures

// Pictures are for the eye: doubles are exact enough here, and only here.
function drawDepth(bids, asks) {
  const canvas = element('depth');
  const { context, width, height } = surface(canvas);
  text(element('depth-note'), '');
  if (bids.length === 0 || asks.length === 0 || width === 0) {
    label(canvas, 'Cumulative depth: no book on both sides');
    return;
  }
  const units = ([px]) => Number(px);
  const middle = (units(bids[0]) + units(asks[0])) / 2;
  // One far-off level must not flatten the rest; it runs out at the edge.
  const distances = [...bids, ...asks].map((entry) => Math.abs(units(entry) - middle)).sort((a, b) => a - b);
  const reach = Math.min(distances.at(-1), distances[distances.length >> 1] * 3) * 1.08 || 1;
  const sums = [bids, asks].map((side) => {
    let sum = 0;
    return side.map((entry) => [units(entry), (sum += Number(entry[1]))]);
  });
  const most = Math.max(sums[0].at(-1)[1], sums[1].at(-1)[1]);
  const [top, bottom] = [16, height - 16];
  const x = (px) => width / 2 + ((px - middle) / reach) * (width / 2);
  const y = (sum) => bottom - (sum / most) * (bottom - top);

  context.strokeStyle = colors.line;
  context.beginPath();
  context.moveTo(Math.round(width / 2) + 0.5, top - 6);
  context.lineTo(Math.round(width / 2) + 0.5, bottom);
  context.moveTo(0, bottom + 0.5);
  context.lineTo(width, bottom + 0.5);
  context.stroke();

  for (const [side, name, edge] of [[sums[0], 'bid', 0], [sums[1], 'ask', width]]) {
    const path = new Path2D();
    path.moveTo(x(side[0][0]), bottom);
    let height = bottom;
    for (const [px, sum] of side) {
      path.lineTo(x(px), height);
      height = y(sum);
      path.lineTo(x(px), height);
    }
    path.lineTo(edge, height);
    context.strokeStyle = colors[name];
    context.stroke(path);
    path.lineTo(edge, bottom);
    context.fillStyle = colors[`${name}-fill`];
    context.fill(path);
  }

  const low = BigInt(Math.round(middle - reach));
  const high = BigInt(Math.round(middle + reach));
  const short = (px) => rounded(px, view.decimals);
  context.fillStyle = colors.dim;
  context.textBaseline = 'alphabetic';
  context.textAlign = 'left';
  context.fillText(short(low), 0, height - 3);
  context.textAlign = 'right';
  context.fillText(short(high), width, height - 3);
  context.textAlign = 'center';
  context.fillText(formatPrice((bids[0][0] + asks[0][0]) / 2n, view.decimals), width / 2, height - 3);
  context.textAlign = 'left';
  context.fillText(compact.format(sums[0].at(-1)[1]), 0, 11);
  context.textAlign = 'right';
  context.fillText(compact.format(sums[1].at(-1)[1]), width, 11);
  text(element('depth-note'), `cumulative, ${Math.max(bids.length, asks.length)} levels`);
  label(canvas, `Cumulative depth: ${sums[0].at(-1)[1]} on the bid side, ${sums[1].at(-1)[1]} on the ask side`);
}

function rounded(px, decimals) {
  const unit = 10n ** BigInt(9 - decimals);
  return formatPrice((px / unit) * unit, decimals);
}

function drawLine() {
  const canvas = element('line');
  const { context, width, height } = surface(canvas);
  const points = view.trades.filter((trade) => trade.printable);
  text(element('line-note'), points.length === 0 ? '' : `last ${points.length} trades`);
  if (points.length < 2 || width === 0) {
    label(canvas, 'Prices of the last trades: none yet');
    return;
  }
  const prices = points.map((trade) => Number(trade.px));
  let [low, high] = [Math.min(...prices), Math.max(...prices)];
  const [lowest, highest] = [low, high];
  if (low === high) {
    low -= 1e7;
    high += 1e7;
  }
  const priceWidth = context.measureText(formatPrice(BigInt(highest), view.decimals)).width;
  const gutter = priceWidth + 10;
  const x = (index) => (index / (prices.length - 1)) * (width - gutter - 4);
  const y = (px) => 8 + ((high - px) / (high - low)) * (height - 16);
  const last = prices.at(-1);

  context.strokeStyle = colors.line;
  context.setLineDash([3, 3]);
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(0, Math.round(y(last)) + 0.5);
  context.lineTo(width - gutter, Math.round(y(last)) + 0.5);
  context.stroke();
  context.setLineDash([]);
  context.strokeStyle = colors.accent;
  context.lineWidth = 1.25;
  context.beginPath();
  prices.forEach((px, index) => {
    if (index > 0) context.lineTo(x(index), y(prices[index - 1]));
    context.lineTo(x(index), y(px));
  });
  context.stroke();
  context.fillStyle = colors.accent;
  context.beginPath();
  context.arc(x(prices.length - 1), y(last), 2.5, 0, 7);
  context.fill();

  context.textBaseline = 'middle';
  context.textAlign = 'right';
  context.fillStyle = colors.dim;
  const clear = (px) => Math.abs(y(px) - y(last)) > 12;
  if (clear(highest)) context.fillText(formatPrice(BigInt(highest), view.decimals), width, y(highest));
  if (clear(lowest)) context.fillText(formatPrice(BigInt(lowest), view.decimals), width, y(lowest));
  context.fillStyle = colors.text;
  context.fillText(formatPrice(BigInt(last), view.decimals), width, y(last));
  label(
    canvas,
    `Prices of the last ${prices.length} trades: from ${formatPrice(BigInt(lowest), view.decimals)} to ${formatPrice(BigInt(highest), view.decimals)}, last ${formatPrice(BigInt(last), view.decimals)}`,
  );
}

// ---------------------------------------------------------------------------- trades and status

// The resting side tells the taker: what hit a bid was sold.
const TAKERS = { A: ['buy', 'Buy'], B: ['sell', 'Sell'], N: ['none', '–'] };
const DAY_NS = 86_400_000_000_000n;

function timeOf(nanos) {
  // Some venues count from midnight and don't say the day; both end in the time of day.
  const ofDay = nanos % DAY_NS;
  const two = (value) => String(value).padStart(2, '0');
  const micros = ofDay / 1000n;
  const seconds = micros / 1_000_000n;
  return `${two(seconds / 3600n)}:${two((seconds / 60n) % 60n)}:${two(seconds % 60n)}.${String(micros % 1_000_000n).padStart(6, '0')}`;
}

function drawTrades() {
  const tbody = element('trades');
  const rows = view.newTrades.splice(0).map((trade) => {
    const [name, word] = TAKERS[trade.resting] ?? TAKERS.N;
    const row = document.createElement('tr');
    row.dataset.side = name;
    row.dataset.id = trade.id;
    const notes = [trade.kind === 'displayed' ? '' : trade.kind, trade.printable ? '' : 'not printed'];
    const values = [
      timeOf(trade.time),
      formatPrice(trade.px, view.decimals),
      quantity.format(trade.size),
      [word === '–' && notes[0] ? '' : word, ...notes].filter(Boolean).join(' '),
    ];
    for (const value of values) row.insertCell().textContent = value;
    return row;
  });
  tbody.prepend(...rows.reverse());
  while (tbody.rows.length > TAPE_ROWS_MAX) tbody.deleteRow(-1);
  if (view.broken.size > 0) {
    for (const row of tbody.rows) {
      if (!view.broken.has(row.dataset.id) || row.classList.contains('broken')) continue;
      row.classList.add('broken');
      row.cells[3].textContent += ' broken';
    }
    view.broken.clear();
  }
  element('trades-empty').hidden = tbody.rows.length > 0;
  text(element('tape-note'), view.skipped > 0n ? `${quantity.format(view.skipped)} skipped: this page was too slow` : '');

  const last = view.trades.findLast((trade) => trade.printable);
  const node = element('last');
  text(node, last === undefined ? '–' : formatPrice(last.px, view.decimals));
  node.dataset.side = last === undefined ? 'none' : (TAKERS[last.resting] ?? TAKERS.N)[0];
}

const BAD_STATUS = new Set(['halt', 'pause', 'operational_halt', 'circuit_breaker']);

function drawStatus() {
  const { status } = view;
  const node = element('status');
  text(
    element('status-text'),
    status === null
      ? 'no status yet'
      : [status.action.replaceAll('_', ' '), status.code && `(${status.code})`, status.reason].filter(Boolean).join(' '),
  );
  node.dataset.kind = status === null ? 'none' : status.action === 'trading' ? 'good' : BAD_STATUS.has(status.action) ? 'bad' : 'other';
}

function drawFacts() {
  const { topic, faults } = view;
  view.checksumsOk = topic?.checksumsOk ?? 0;
  text(element('seq'), topic?.seq == null ? '–' : String(topic.seq));
  text(element('checksum-ok'), quantity.format(view.checksumsOk));
  text(element('chain'), topic === null ? '–' : faults.chain === 0 ? 'unbroken' : `${faults.chain} broken`);

  const warnings = [];
  if (topic && client.staleBooks.has(topic.instrumentId)) warnings.push('book may be wrong');
  if (topic && !topic.valid && client.state === State.LIVE) warnings.push('awaiting snapshot');
  const channel = client.channels.get(view.instrument?.channel);
  if (channel && channel.state !== 'live') warnings.push(`channel ${channel.state}`);
  badge('warning-badge', warnings);
  const errors = [];
  if (faults.checksum > 0) errors.push(`${faults.checksum} checksum${faults.checksum > 1 ? 's' : ''} wrong`);
  if (faults.chain > 0) errors.push(`chain broken ${faults.chain}×`);
  badge('error-badge', errors);
}

function badge(id, words) {
  const node = element(id);
  text(node, words.join(' · '));
  node.hidden = words.length === 0;
}

// ---------------------------------------------------------------------------- drawing

let frame = 0;

function drawSoon() {
  view.dirty = true;
  frame ||= requestAnimationFrame(draw);
}

function draw() {
  frame = 0;
  if (!view.dirty) return;
  view.dirty = false;
  drawLadder();
  const fresh = view.newTrades.length > 0 || view.broken.size > 0 || view.trades.length === 0;
  if (fresh) {
    drawTrades();
    drawLine();
  }
  drawStatus();
  drawFacts();
}

function redraw() {
  readColors();
  drawLine();
  feeds.draw();
  drawSoon();
}

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
const sizes = new ResizeObserver(redraw);
sizes.observe(element('depth'));
sizes.observe(element('line'));
const feeds = new FeedPanel(client, element('feeds'));

// ---------------------------------------------------------------------------- the connection

let lostAt = null;

function drawState() {
  const { state } = client;
  const words = { connecting: 'connecting', live: 'live', waiting: 'reconnecting', refused: 'refused', closed: 'closed' };
  // The first attempt of a page isn't a loss; an attempt after a loss still is one.
  const shown = state === State.CONNECTING && lostAt !== null ? 'waiting' : state;
  document.body.dataset.state = shown;
  element('state').dataset.state = shown;
  text(element('state-text'), words[shown]);
  element('lost').hidden = shown === 'live' || shown === 'connecting' || shown === 'closed';
  text(element('lost-title'), shown === 'refused' ? 'The server refused this page.' : 'Connection lost.');
  element('reconnect').hidden = shown === 'refused';
  drawCountdown();
}

function drawCountdown() {
  if (element('lost').hidden) return;
  const parts = [];
  if (client.reason && client.reason !== 'connection lost') parts.push(`${client.reason}.`);
  if (lostAt !== null && client.welcome !== null) parts.push(`What you see is as of ${lostAt.toISOString().slice(11, 19)} UTC.`);
  if (client.state === State.WAITING) {
    parts.push(`Next attempt in ${Math.max(0, Math.ceil((client.retryAt - Date.now()) / 1000))} s.`);
  } else if (client.state === State.CONNECTING) {
    parts.push(`Attempt ${client.attempts}.`);
  }
  text(element('lost-text'), parts.join(' '));
}

client.addEventListener('state', ({ detail }) => {
  if (detail.state === State.LIVE) {
    lostAt = null;
    loadInstruments();
  } else if (detail.state === State.WAITING) {
    lostAt ??= new Date();
  }
  drawState();
  drawSoon();
});

client.addEventListener('books', drawSoon);

client.addEventListener('channels', () => {
  const list = element('channels');
  const channels = [...client.channels.values()];
  while (list.children.length > channels.length) list.lastChild.remove();
  channels.forEach(({ channel, venue, state }, index) => {
    const item = list.children[index] ?? list.appendChild(document.createElement('li'));
    item.dataset.state = state;
    item.title = `channel ${channel}`;
    text(item, `${venue || channel} ${state}`);
  });
  drawSoon();
});

element('reconnect').addEventListener('click', () => client.reconnectNow());
addEventListener('online', () => client.reconnectNow());

let counted = { messages: 0, chars: 0, at: performance.now() };

setInterval(() => {
  const now = performance.now();
  const seconds = (now - counted.at) / 1000;
  const { messages, chars } = client.received;
  text(element('rate'), `${quantity.format(Math.round((messages - counted.messages) / seconds))}/s`);
  text(element('bytes'), `${((chars - counted.chars) / seconds / 1000).toFixed(1)} kB/s`);
  counted = { messages, chars, at: now };
  text(element('latency-book'), view.bookLatency.summary());
  text(element('latency-trade'), view.tradeLatency.summary());
  feeds.draw();
  drawCountdown();
}, 1000);

// ---------------------------------------------------------------------------- the symbol picker

const search = element('symbol-search');
const list = element('symbol-list');
const picker = { instruments: [], shown: [], active: -1, loading: false };

async function loadInstruments() {
  if (picker.loading) return;
  picker.loading = true;
  let again = false;
  try {
    const response = await fetch('/v1/instruments', { headers: { accept: 'application/json' } });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    const { instruments } = await response.json();
    // A venue tells its instruments as the day begins; before that the list is empty.
    again = instruments.length === 0;
    picker.instruments = instruments;
    filter();
    if (again) text(element('symbol-count'), 'no instruments yet');
    const wanted = fromHash();
    if (view.instrument === null) {
      if (wanted) show(known(wanted) ?? wanted);
      else if (instruments.length > 0) show(instruments[0]);
    } else if (view.instrument.channel === undefined) {
      view.instrument = known(view.instrument) ?? view.instrument;
    }
  } catch (error) {
    text(element('symbol-count'), `instruments: ${error.message}`);
    again = true;
  }
  picker.loading = false;
  if (again && client.state === State.LIVE) setTimeout(loadInstruments, LIST_RETRY_MS);
}


function known({ venue, symbol }) {
  return picker.instruments.find((one) => one.symbol === symbol && one.venue === venue);
}

function fromHash() {
  const match = /^#([^/]+)\/(.+)$/.exec(location.hash);
  if (match === null) return null;
  try {
    return { venue: decodeURIComponent(match[1]), symbol: decodeURIComponent(match[2]) };
  } catch {
    return null;
  }
}

addEventListener('hashchange', () => {
  const wanted = fromHash();
  if (wanted) show(known(wanted) ?? wanted);
});

function filter() {
  const query = search.value.trim().toUpperCase();
  const begins = [];
  const holds = [];
  for (const instrument of picker.instruments) {
    const name = instrument.symbol.toUpperCase();
    if (name.startsWith(query)) begins.push(instrument);
    else if (name.includes(query)) holds.push(instrument);
  }
  begins.sort((a, b) => (a.symbol.length === query.length ? 0 : 1) - (b.symbol.length === query.length ? 0 : 1));
  const found = [...begins, ...holds];
  picker.shown = found.slice(0, OPTIONS_SHOWN_MAX);
  list.replaceChildren(
    ...picker.shown.map((instrument, index) => {
      const option = document.createElement('li');
      option.id = `option-${index}`;
      option.role = 'option';
      const symbol = document.createElement('span');
      symbol.textContent = instrument.symbol;
      const venue = document.createElement('small');
      venue.textContent = instrument.venue;
      option.append(symbol, venue);
      return option;
    }),
  );
  const more = found.length - picker.shown.length;
  const total = quantity.format(picker.instruments.length);
  text(
    element('symbol-count'),
    found.length === 0
      ? 'no instrument of that name'
      : query === ''
        ? `${total} instruments${more > 0 ? `, first ${picker.shown.length} shown` : ''}`
        : `${quantity.format(found.length)} of ${total}${more > 0 ? `, first ${picker.shown.length} shown` : ''}`,
  );
  markSelected();
  activate(query === '' || found.length === 0 ? -1 : 0);
}

function markSelected() {
  picker.shown.forEach((instrument, index) => {
    const selected = instrument.symbol === view.instrument?.symbol && instrument.venue === view.instrument?.venue;
    list.children[index].setAttribute('aria-selected', String(selected));
  });
}

function activate(index) {
  list.children[picker.active]?.classList.remove('active');
  picker.active = index;
  const option = list.children[index];
  if (option === undefined) {
    search.removeAttribute('aria-activedescendant');
    return;
  }
  option.classList.add('active');
  search.setAttribute('aria-activedescendant', option.id);
  // Not scrollIntoView, which would also scroll the page.
  const frame = list.parentElement;
  const top = option.offsetTop - frame.offsetTop;
  if (top < frame.scrollTop) frame.scrollTop = top;
  else if (top + option.offsetHeight > frame.scrollTop + frame.clientHeight) {
    frame.scrollTop = top + option.offsetHeight - frame.clientHeight;
  }
}

function open(yes) {
  search.placeholder = narrow.matches ? 'Symbol' : 'Symbol, or press /';
  list.closest('.picker').classList.toggle('open', yes);
  search.setAttribute('aria-expanded', String(yes || !narrow.matches));
}

function choose(index) {
  const instrument = picker.shown[index];
  if (instrument === undefined) return;
  show(instrument);
  search.value = '';
  filter();
  open(false);
  if (narrow.matches) search.blur();
}

search.addEventListener('input', () => {
  open(true);
  filter();
});
search.addEventListener('focus', () => open(true));
search.addEventListener('blur', () => open(false));
search.addEventListener('keydown', (event) => {
  const last = picker.shown.length - 1;
  const selected = picker.shown.findIndex((one) => one === view.instrument);
  const from = picker.active >= 0 ? picker.active : selected;
  const to = {
    ArrowDown: Math.min(from + 1, last),
    ArrowUp: Math.max(from - 1, 0),
    PageDown: Math.min(from + 10, last),
    PageUp: Math.max(from - 10, 0),
  }[event.key];
  if (to !== undefined) {
    open(true);
    activate(to);
    event.preventDefault();
  } else if (event.key === 'Enter') {
    choose(picker.active);
    event.preventDefault();
  } else if (event.key === 'Escape') {
    search.value = '';
    filter();
    open(false);
  }
});
// Before the blur that would close the list.
list.addEventListener('pointerdown', (event) => event.preventDefault());
list.addEventListener('click', (event) => {
  const option = event.target.closest('[role=option]');
  if (option) choose([...list.children].indexOf(option));
});
addEventListener('keydown', (event) => {
  if (event.key !== '/' || event.ctrlKey || event.metaKey || event.target === search) return;
  search.focus();
  search.select();
  event.preventDefault();
});
narrow.addEventListener('change', () => open(false));

readColors();
open(false);
drawState();
