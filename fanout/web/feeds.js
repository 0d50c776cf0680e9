// The panel of feeds: for each channel its lines, its gaps and what became of them, from the schema `feed`.
//
// Messages only add samples; figures and curves are made of the samples when the panel is drawn.  A counter
// that the server doesn't have shows as a dash: what channels count differs, and grows.

import { colors, compact, label, quantity, surface, text } from '/screen.js';

/** The strip's span, and the width of one of its bars. */
const STRIP_MS = 120_000;
const BAR_MS = 1_000;
/** What rates and shares of lines are of. */
const RATE_MS = 2_000;
const SHARE_MS = 10_000;

/** Counters of fates, what became of what was missing, and their colours in the strip. */
const FATES = [
  ['gaps_declared', 'gaps', 'Gaps that were declared: a hole was older, or more waited behind it, than is waited for', 'dim'],
  ['messages_missing', 'missing', 'Messages that were missing in declared gaps', ''],
  ['filled_by_line', 'filled by line', 'Filled by the other line after the declaration', 'accent'],
  ['filled_by_request', 'by request', 'Filled by answers to requests for retransmission', 'good'],
  ['filled_by_snapshot', 'by snapshot', 'Covered by a snapshot of the books', 'warn'],
  ['messages_lost', 'lost', 'Messages that nothing brought back', 'bad'],
];

/** What the strip stacks below its middle. */
const REPAIRS = FATES.slice(2).map(([name, , , color]) => [name, color]);

/** States as people say them, and how good they are. */
const STATES = {
  synchronized: ['synchronized', 'good'],
  gap_fill: ['filling a gap', 'warn'],
  backfill: ['catching up', 'warn'],
  loading: ['loading a snapshot', 'warn'],
  idle: ['nothing received', 'none'],
  lost: ['lost', 'bad'],
};
const LINE_STATES = { up: 'good', silent: 'warn', down: 'bad' };

const make = (tag, className, ...children) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
};

/** All channels of a client, in a section that is hidden while there is none. */
export class FeedPanel {
  #client;
  #section;
  #venues = new Set();
  #cards = new Map();

  constructor(client, section) {
    this.#client = client;
    this.#section = section;
    client.addEventListener('channels', () => this.#follow());
    this.#follow();
  }

  // One subscription a venue; they outlive connections.
  #follow() {
    for (const { venue } of this.#client.channels.values()) {
      if (venue === '' || this.#venues.has(venue)) continue;
      this.#venues.add(venue);
      this.#client.subscribe({ schema: 'feed', venue, symbols: '*' }, (message) => this.#take(venue, message));
    }
  }

  #take(venue, message) {
    if (message.type !== 'feed') return;
    let card = this.#cards.get(message.instrument_id);
    if (card === undefined) {
      card = new Card(venue, message.channel);
      this.#cards.set(message.instrument_id, card);
      const at = [...this.#cards.keys()].filter((id) => id < message.instrument_id).length;
      this.#section.insertBefore(card.root, this.#section.children[at] ?? null);
      this.#section.hidden = false;
    }
    card.take(message);
    card.draw();
  }

  /** Draws again: time has passed, or the screen has changed. */
  draw() {
    for (const card of this.#cards.values()) card.draw();
  }
}

/** One channel. */
class Card {
  #samples = [];
  #last = null;
  #lines = new Map();
  #fates = new Map();

  constructor(venue, channel) {
    this.root = make('article', 'feed panel');
    this.root.dataset.testid = 'feed';
    this.root.dataset.channel = channel;
    this.root.setAttribute('aria-label', `Feed ${channel} of ${venue}`);

    this.state = make('span', 'chip');
    this.state.dataset.testid = 'feed-state';
    this.stale = make('span', 'chip', 'stale');
    this.stale.dataset.kind = 'warn';
    this.rate = make('b', '', '–');
    this.rate.dataset.testid = 'feed-rate';
    this.next = make('span', 'next');
    this.open = make('span', 'open');
    const head = make('header', '', make('h3', '', channel, ' ', make('small', '', venue)), this.state, this.stale,
      this.open, make('span', 'rate', this.rate, ' messages/s'), this.next);

    this.lines = make('div', 'lines');
    this.fates = make('dl', 'fates');
    for (const [name, word, title, color] of FATES) this.#figure(name, word, title, color);
    this.#figure('p50', 'repair p50', 'Half of the gaps were repaired within this time of their declaration');
    this.#figure('p99', 'repair p99', '99 in a hundred gaps were repaired within this time of their declaration');

    this.strip = make('canvas', 'strip');
    this.strip.setAttribute('role', 'img');
    this.root.append(head, this.fates, this.lines, make('div', 'history', this.strip));
  }

  #figure(name, word, title, color = '') {
    const value = make('dd', '', '–');
    value.dataset.testid = `feed-${name}`;
    const term = make('dt', '', word);
    term.title = title;
    term.dataset.color = color;
    this.fates.append(make('div', '', term, value));
    this.#fates.set(name, value);
  }

  take(message) {
    const now = performance.now();
    const counters = Object.fromEntries(Object.entries(message.counters ?? {}).map(([name, value]) => [name, Number(value)]));
    // Where messages aren't counted, the numbers of the venue count them.
    const messages = counters.messages ?? Number(message.next_sequence);
    const won = (message.lines ?? []).map((line) => Number(line.won));
    const sample = { at: now, counters, messages, won, stale: message.stale };
    // A process that was started anew counts from 0.
    if (this.#samples.length > 0 && messages < this.#samples.at(-1).messages) this.#samples = [];
    this.#samples.push(sample);
    this.#last = message;
    // One before the span is kept: it is what the first bar is counted from.
    while (this.#samples.length > 2 && this.#samples[1].at < now - STRIP_MS - BAR_MS) this.#samples.shift();
  }

  /** What held at a time: the last sample until then, or the first. */
  #at(time) {
    let low = 0;
    let high = this.#samples.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#samples[middle].at <= time) low = middle + 1;
      else high = middle;
    }
    return this.#samples[Math.max(0, low - 1)];
  }

  draw() {
    const message = this.#last;
    if (message === null) return;
    const now = performance.now();
    const newest = this.#samples.at(-1);

    const [word, kind] = STATES[message.state] ?? [message.state.replaceAll('_', ' '), 'none'];
    text(this.state, word);
    this.state.dataset.kind = kind;
    this.root.dataset.state = message.state;
    this.stale.hidden = !message.stale;
    this.root.dataset.stale = String(Boolean(message.stale));

    const before = this.#at(now - RATE_MS);
    const seconds = Math.max(RATE_MS, now - before.at < 2 * RATE_MS ? now - before.at : RATE_MS) / 1000;
    text(this.rate, quantity.format(Math.round((newest.messages - before.messages) / seconds)));
    const next = Number(message.next_sequence);
    text(this.next, next > 0 ? `next ${quantity.format(next)}` : '');
    this.next.title = message.session ? `session ${message.session.trim()}` : '';
    const gaps = message.gaps ?? [];
    this.open.hidden = gaps.length === 0;
    text(this.open, gaps.length === 0 ? '' : `open ${ranges(gaps)}`);

    this.#drawLines(message.lines ?? [], now);
    for (const [name] of FATES) {
      const value = newest.counters[name];
      const node = this.#fates.get(name);
      text(node, value === undefined ? '–' : quantity.format(value));
      node.dataset.kind = name === 'messages_lost' && value > 0 ? 'bad' : value > 0 ? 'some' : 'none';
    }
    const { repair } = message;
    for (const name of ['p50', 'p99']) {
      const node = this.#fates.get(name);
      text(node, percentile(repair, name));
      node.dataset.kind = repair?.count > 0 ? 'some' : 'none';
    }
    this.#drawStrip(now);
  }

  #drawLines(lines, now) {
    if (lines.length === 0) {
      if (this.lines.childElementCount === 0) this.lines.append(make('p', 'none', 'no lines: the channel is read from elsewhere'));
      return;
    }
    if (this.#lines.size === 0) this.lines.replaceChildren();
    const recent = this.#at(now - SHARE_MS).won;
    const won = lines.map((line, index) => Number(line.won) - (recent[index] ?? 0));
    let all = won.reduce((sum, one) => sum + one, 0);
    // Nothing won lately: what was won since the start.
    if (all === 0) {
      lines.forEach((line, index) => { won[index] = Number(line.won); });
      all = won.reduce((sum, one) => sum + one, 0);
    }
    lines.forEach((line, index) => {
      const row = this.#line(line.name);
      row.root.dataset.state = line.state;
      row.dot.dataset.kind = LINE_STATES[line.state] ?? 'none';
      text(row.state, line.state);
      const share = all === 0 ? 0 : won[index] / all;
      row.fill.style.transform = `scaleX(${share})`;
      text(row.share, all === 0 ? '–' : `${(share * 100).toFixed(1)}%`);
      const of = (name) => Number(line.counters?.[name] ?? 0);
      const notes = [
        [of('kernel_drops'), 'dropped'],
        [of('packets_rejected'), 'rejected'],
        [of('packets_foreign'), 'foreign'],
      ].filter(([value]) => value > 0).map(([value, what]) => `${compact.format(value)} ${what}`);
      row.note.hidden = notes.length === 0;
      text(row.note, notes.join(', '));
      row.root.title = `${line.name}: ${of('kernel_drops') > 0 ? `${quantity.format(of('kernel_drops'))} packets dropped by the kernel, ` : ''}first with ${quantity.format(Number(line.won))} messages, ${quantity.format(Number(line.duplicate))} had come before`;
    });
  }

  #line(name) {
    let row = this.#lines.get(name);
    if (row === undefined) {
      const [dot, state, fill, share, note] = ['dot', 'word', 'fill', 'share', 'note'].map((one) => make('span', one));
      const root = make('div', 'line', make('span', 'name', dot, name), state, make('span', 'bar', fill), share, note);
      root.dataset.testid = 'feed-line';
      root.dataset.line = name;
      share.dataset.testid = 'feed-share';
      row = { root, dot, state, fill, share, note };
      this.#lines.set(name, row);
      this.lines.append(root);
    }
    return row;
  }

  // Above the middle gaps that were declared, below it what filled them; both by the logarithm, because one
  // snapshot may stand for a million messages.
  #drawStrip(now) {
    const { context, width, height } = surface(this.strip);
    if (width === 0) return;
    const bars = Math.ceil(STRIP_MS / BAR_MS);
    // Bars end at whole seconds, so that they move and don't change.
    const end = Math.ceil(now / BAR_MS) * BAR_MS;
    const step = width / bars;
    const columns = [];
    let [declaredMost, repairedMost] = [0, 0];
    for (let bar = 0; bar < bars; bar += 1) {
      const from = this.#at(end - (bars - bar) * BAR_MS);
      const to = this.#at(end - (bars - bar - 1) * BAR_MS);
      const grown = (name) => Math.max(0, (to.counters[name] ?? 0) - (from.counters[name] ?? 0));
      const parts = REPAIRS.map(([name]) => grown(name));
      const declared = grown('gaps_declared');
      const repaired = parts.reduce((sum, one) => sum + one, 0);
      declaredMost = Math.max(declaredMost, declared);
      repairedMost = Math.max(repairedMost, repaired);
      columns.push({ declared, parts, repaired, stale: false });
    }
    this.#samples.forEach(({ at, stale }, index) => {
      if (!stale) return;
      const until = this.#samples[index + 1]?.at ?? now;
      const bar = (time) => bars - 1 - Math.floor((end - time) / BAR_MS);
      for (let one = Math.max(0, bar(at)); one <= Math.min(bars - 1, bar(until)); one += 1) columns[one].stale = true;
    });
    const middle = Math.round(height * 0.45) + 0.5;
    const [above, below] = [middle - 2, height - middle - 2];
    columns.forEach(({ declared, parts, repaired, stale }, bar) => {
      const x = bar * step;
      const wide = Math.max(1, step - 1);
      if (stale) {
        context.fillStyle = colors['warn-ground'];
        context.fillRect(x, 0, step + 0.5, height);
      }
      if (declared > 0) {
        context.fillStyle = colors.dim;
        const high = tall(declared, declaredMost, above);
        context.fillRect(x, middle - high, wide, high);
      }
      if (repaired > 0) {
        const high = tall(repaired, repairedMost, below);
        let y = middle;
        parts.forEach((part, index) => {
          if (part === 0) return;
          // Never thinner than can be seen.
          const thick = Math.max(1.5, (part / repaired) * high);
          context.fillStyle = colors[REPAIRS[index][1]];
          context.fillRect(x, y, wide, thick);
          y += thick;
        });
      }
    });
    context.strokeStyle = colors.line;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(0, middle);
    context.lineTo(width, middle);
    context.stroke();
    // What the tallest bars stand for, where the oldest are.
    const span = 'last 2 minutes';
    this.#words(context, declaredMost === 0 ? span : `${compact.format(declaredMost)} ${declaredMost === 1 ? 'gap' : 'gaps'}/s, ${span}`, 0);
    if (repairedMost > 0) this.#words(context, `${compact.format(repairedMost)} filled/s`, height - 13);
    const sum = (of) => columns.reduce((total, column) => total + of(column), 0);
    label(this.strip, `Last two minutes: ${sum(({ declared }) => declared)} gaps declared, ${sum(({ repaired }) => repaired)} filled or lost`);
  }

  #words(context, words, y) {
    const { width } = context.measureText(words);
    context.fillStyle = colors.panel;
    context.fillRect(0, y, width + 4, 13);
    context.fillStyle = colors.dim;
    context.textAlign = 'left';
    context.textBaseline = 'top';
    context.fillText(words, 0, y + 1);
  }
}

function tall(value, most, height) {
  return Math.max(2, (Math.log1p(value) / Math.log1p(most)) * height);
}

function ranges(gaps) {
  const shown = gaps.slice(0, 2).map(([first, last]) => (first === last ? quantity.format(Number(first)) : `${quantity.format(Number(first))}–${quantity.format(Number(last))}`));
  return `${shown.join(', ')}${gaps.length > 2 ? ` and ${gaps.length - 2} more` : ''}`;
}

/** A percentile of repairs: the bound that it stays below. */
function percentile(repair, name) {
  if (!(repair?.count > 0)) return '–';
  const bound = repair[`${name}_ns`];
  return bound === undefined ? `> ${duration(Number(repair.bound_ns))}` : `≤ ${duration(Number(bound))}`;
}

function duration(ns) {
  if (ns < 1e6) return `${Number((ns / 1e3).toPrecision(3))} µs`;
  if (ns < 1e9) return `${Number((ns / 1e6).toPrecision(3))} ms`;
  return `${Number((ns / 1e9).toPrecision(3))} s`;
}
