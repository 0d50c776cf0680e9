// What the parts of the page share: texts, numbers, canvases and the style sheet's colours.

export const element = (id) => document.getElementById(id);
export const quantity = new Intl.NumberFormat('en-US');
export const compact = new Intl.NumberFormat('en-US', { notation: 'compact', maximumFractionDigits: 1 });

export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

/** For who doesn't see the picture. */
export function label(canvas, value) {
  if (canvas.getAttribute('aria-label') !== value) canvas.setAttribute('aria-label', value);
}

/** The style sheet's colours, for pictures; read again when the scheme changes. */
export const colors = {};

export function readColors() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ['panel', 'text', 'dim', 'line', 'bid', 'ask', 'bid-fill', 'ask-fill', 'accent', 'good', 'warn', 'warn-ground', 'bad']) {
    colors[name] = style.getPropertyValue(`--${name}`).trim();
  }
  colors.font = `11px ${style.getPropertyValue('--mono').trim()}`;
}

/** A canvas, empty, in the screen's own pixels. */
export function surface(canvas) {
  const ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  const pixelsWide = Math.round(width * ratio);
  const pixelsHigh = Math.round(height * ratio);
  if (canvas.width !== pixelsWide || canvas.height !== pixelsHigh) {
    canvas.width = pixelsWide;
    canvas.height = pixelsHigh;
  }
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = colors.font;
  context.lineWidth = 1.5;
  context.lineJoin = 'round';
  return { context, width, height };
}
