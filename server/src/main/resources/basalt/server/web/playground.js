/** The playground: streams a completion, and draws what it costs in memory. No library, no build. */

const byId = (id) => document.getElementById(id);
const SVG = 'http://www.w3.org/2000/svg';
const TOP_COUNT = 5;
/** Lengths that the table tells of, beside the present one. */
const LENGTHS = [1_000, 10_000, 100_000, 1_000_000];
/** Bits of surprise, -log2 p, from which on a token is shaded more. */
const SURPRISE_BITS = [3, 5, 7, 9];
/** Between two drawings of the chart while an answer comes. */
const DRAW_MILLIS = 80;
const MODEL_RETRY_MILLIS = 1_000;
const ENCODER = new TextEncoder();

/** What /v1/models says that is used here; null until it is known. */
let model = null;
/** The request that runs, or null. */
let running = null;
/** Of each token of the answer: {text, logprob, top: [[text, logprob], ...]}. */
let tokens = [];
let promptTokenCount = 0;
let chosenIndex = -1;

// ---- Numbers

function bytesText(bytes) {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1_000 && unit < units.length - 1) {
    value /= 1_000;
    unit++;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : Number(value.toPrecision(2))} ${units[unit]}`;
}

const countText = (count) => count.toLocaleString('en-US');

function rateText(perSecond) {
  return perSecond >= 100 ? countText(Math.round(perSecond)) : perSecond.toFixed(1);
}

function ratioText(ratio) {
  return ratio >= 10 ? `${countText(Math.round(ratio))}×` : `${ratio.toFixed(1)}×`;
}

/** A step of 1, 2 or 5 times a power of ten that divides the span into about so many parts. */
function niceStep(span, parts) {
  const power = 10 ** Math.floor(Math.log10(span / parts));
  return power * [1, 2, 5, 10].find((factor) => span / (power * factor) <= parts);
}

// ---- Memory

function shape(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, value);
  }
  if (text !== undefined) {
    element.textContent = text;
  }
  return element;
}

function drawMemory() {
  if (model === null) {
    return;
  }
  const length = promptTokenCount + tokens.length;
  const { stateBytes, cacheBytesPerToken } = model;
  const box = { left: 46, right: 392, top: 14, bottom: 208 };
  const crossing = stateBytes / cacheBytesPerToken;
  let lengthMax = 2 ** Math.ceil(Math.log2(Math.max(64, 2.2 * crossing)));
  while (lengthMax < length * 1.08) {
    lengthMax *= 2;
  }
  const bytesMax = 1.12 * Math.max(lengthMax * cacheBytesPerToken, 2 * stateBytes);
  const x = (count) => box.left + ((box.right - box.left) * count) / lengthMax;
  const y = (bytes) => box.bottom - ((box.bottom - box.top) * bytes) / bytesMax;
  const cacheBytes = length * cacheBytesPerToken;
  const parts = [];

  const byteStep = niceStep(bytesMax, 4);
  for (let bytes = 0; bytes <= bytesMax; bytes += byteStep) {
    parts.push(shape('line', { class: 'grid', x1: box.left, x2: box.right, y1: y(bytes), y2: y(bytes) }));
    parts.push(shape('text', { x: box.left - 7, y: y(bytes) + 4, 'text-anchor': 'end' }, bytes === 0 ? '0' : bytesText(bytes)));
  }
  for (const count of [lengthMax / 4, lengthMax / 2, lengthMax]) {
    const isLast = count === lengthMax;
    const text = countText(count) + (isLast ? ' tokens' : '');
    parts.push(shape('text', { x: x(count), y: box.bottom + 18, 'text-anchor': isLast ? 'end' : 'middle' }, text));
  }
  parts.push(shape('path', { class: 'cache ahead', d: `M${x(length)} ${y(cacheBytes)}L${x(lengthMax)} ${y(lengthMax * cacheBytesPerToken)}` }));
  if (length > 0) {
    parts.push(shape('path', { class: 'cache-area', d: `M${x(0)} ${y(0)}L${x(length)} ${y(cacheBytes)}V${y(0)}z` }));
    parts.push(shape('path', { class: 'cache', d: `M${x(0)} ${y(0)}L${x(length)} ${y(cacheBytes)}` }));
  }
  parts.push(shape('rect', { class: 'state-area', x: x(0), y: y(stateBytes), width: x(length) - x(0), height: y(0) - y(stateBytes) }));
  parts.push(shape('path', { class: 'state', d: `M${x(0)} ${y(stateBytes)}H${x(lengthMax)}` }));
  const reach = length > 0 ? length : lengthMax;
  parts.push(...memoryLabels(reach, length > 0, { x, y, box }));
  byId('chart').replaceChildren(...parts);
  byId('chart').setAttribute(
    'aria-label',
    `Memory at ${countText(reach)} tokens: ${bytesText(stateBytes)} in Basalt, ${bytesText(reach * cacheBytesPerToken)} in the Transformer.`,
  );
  fillLengths(length);
}

/** The names of both lines at a length, clear of each other. */
function memoryLabels(length, hasDots, { x, y, box }) {
  const cacheBytes = length * model.cacheBytesPerToken;
  const yCache = y(cacheBytes);
  const yState = y(model.stateBytes);
  const parts = [];
  if (hasDots) {
    parts.push(shape('circle', { class: 'dot', fill: 'var(--stone)', cx: x(length), cy: yCache, r: 5 }));
    parts.push(shape('circle', { class: 'dot', fill: 'var(--ember)', cx: x(length), cy: yState, r: 5 }));
  }
  const isRight = x(length) > (box.left + box.right) / 2;
  const anchor = isRight ? 'end' : 'start';
  const shift = isRight ? -12 : 10;
  const isAbove = cacheBytes > model.stateBytes;
  const cacheY = isAbove ? yCache + 4 : Math.min(yCache + 18, box.bottom - 6);
  const stateY = isAbove ? Math.min(yState + 17, box.bottom - 5) : yState - 10;
  parts.push(shape('text', { class: 'cache-label', x: x(length) + shift, y: cacheY, 'text-anchor': anchor }, `Transformer ${bytesText(cacheBytes)}`));
  parts.push(shape('text', { class: 'state-label', x: box.right, y: stateY, 'text-anchor': 'end' }, `Basalt ${bytesText(model.stateBytes)}`));
  return parts;
}

function fillLengths(length) {
  const rows = (length > 0 ? [length, ...LENGTHS.filter((count) => count > length)] : LENGTHS).map((count) => {
    const row = document.createElement('tr');
    const cacheBytes = count * model.cacheBytesPerToken;
    row.className = count === length ? 'now' : '';
    for (const text of [countText(count), bytesText(cacheBytes), bytesText(model.stateBytes), ratioText(cacheBytes / model.stateBytes)]) {
      row.appendChild(document.createElement('td')).textContent = text;
    }
    return row;
  });
  byId('lengths').replaceChildren(...rows);
}

// ---- Talking to the server

function headers() {
  const key = byId('key').value.trim();
  return { 'Content-Type': 'application/json', ...(key === '' ? {} : { Authorization: `Bearer ${key}` }) };
}

async function failureOf(response) {
  let message = `The server answered ${response.status}.`;
  try {
    message = (await response.json()).error.message;
  } catch {
    // Not ours, as from a proxy.
  }
  const seconds = response.headers.get('Retry-After');
  if (response.status === 401) {
    byId('key').closest('details').open = true;
    byId('key').focus();
  }
  return new Error(seconds === null ? message : `${message} Try again in ${seconds} s.`);
}

async function findModel() {
  try {
    const response = await fetch('/v1/models', { headers: headers() });
    if (!response.ok) {
      throw await failureOf(response);
    }
    const card = (await response.json()).data[0];
    model = {
      name: card.id,
      stateBytes: card.meta.state_bytes,
      cacheBytesPerToken: card.meta.transformer.kv_bytes_per_token,
    };
    byId('model').textContent = `${card.id}, ${parametersText(card.meta.n_params)} parameters`;
    byId('state-bytes').textContent = `${countText(model.stateBytes)} bytes`;
    byId('transformer').textContent =
      `${card.meta.transformer.n_layer} layers of width ${card.meta.n_embd} with 16-bit keys and values`;
    if (byId('status').classList.contains('error')) {
      show('');
    }
    drawMemory();
  } catch (failure) {
    show(failure.message, true);
    setTimeout(findModel, MODEL_RETRY_MILLIS);
  }
}

function parametersText(count) {
  return count >= 1e9 ? `${(count / 1e9).toPrecision(2)} billion` : `${(count / 1e6).toPrecision(3)} million`;
}

/** The data of each event of a stream. */
async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    const lines = (rest + read.value).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith('data: ')) {
        yield line.slice('data: '.length);
      }
    }
  }
}

async function write() {
  if (running !== null || !byId('form').reportValidity()) {
    return;
  }
  const run = { abort: new AbortController(), beganMillis: performance.now(), firstMillis: 0, lastMillis: 0, drawnMillis: 0, reason: '' };
  running = run;
  begin();
  try {
    await stream(run);
    end(run, run.reason === 'length' ? 'Ended at the most tokens allowed.' : 'The model ended the text.');
  } catch (failure) {
    const isStopped = failure.name === 'AbortError';
    end(run, isStopped ? 'Stopped.' : failure.message, !isStopped);
  }
}

function requestBody() {
  const seed = byId('seed').value;
  return JSON.stringify({
    model: model?.name,
    prompt: byId('prompt').value,
    max_tokens: byId('max-tokens').valueAsNumber,
    temperature: byId('temperature').valueAsNumber,
    top_p: byId('top-p').valueAsNumber,
    seed: seed === '' ? null : Number(seed),
    logprobs: TOP_COUNT,
    return_token_ids: true,
    stream: true,
  });
}

async function stream(run) {
  const response = await fetch('/v1/completions', {
    method: 'POST',
    headers: headers(),
    body: requestBody(),
    signal: run.abort.signal,
  });
  if (!response.ok) {
    throw await failureOf(response);
  }
  let isWhole = false;
  for await (const data of eventsOf(response.body)) {
    if (data === '[DONE]') {
      isWhole = true;
    } else {
      take(JSON.parse(data), run);
    }
  }
  if (!isWhole) {
    throw new Error('The connection ended before the answer did.');
  }
}

function take(chunk, run) {
  if (chunk.error !== undefined) {
    throw new Error(chunk.error.message);
  }
  const choice = chunk.choices[0];
  promptTokenCount = choice.prompt_token_ids?.length ?? promptTokenCount;
  run.reason = choice.finish_reason ?? run.reason;
  const added = tokensOf(choice);
  if (added.length > 0) {
    run.lastMillis = performance.now();
    run.firstMillis ||= run.lastMillis;
    run.firstCount ??= added.length;
  }
  for (const token of added) {
    tokens.push(token);
    pendingSpans.push(spanOf(token, tokens.length - 1));
  }
  if (!run.isFrameAsked) {
    run.isFrameAsked = true;
    requestAnimationFrame(() => {
      run.isFrameAsked = false;
      showProgress(run);
    });
  }
}

/** The tokens of a chunk with their texts; where they share a character, it belongs to the last of them. */
function tokensOf(choice) {
  const columns = choice.logprobs;
  if (columns === null) {
    return choice.text === '' ? [] : [{ text: choice.text, logprob: null, top: [] }];
  }
  const areTexts = columns.tokens.join('') === choice.text;
  return columns.tokens.map((name, i) => ({
    text: areTexts ? name : i === columns.tokens.length - 1 ? choice.text : '',
    logprob: columns.token_logprobs[i],
    top: Object.entries(columns.top_logprobs[i] ?? {}).sort((a, b) => b[1] - a[1]),
  }));
}

// ---- The answer on the page

let pendingSpans = [];

function spanOf(token, index) {
  const span = document.createElement('span');
  const bits = token.logprob === null ? 0 : -token.logprob / Math.LN2;
  const level = SURPRISE_BITS.filter((limit) => bits >= limit).length;
  // The blank between the prompt and the answer would indent the first line.
  span.textContent = index === 0 ? token.text.trimStart() : token.text;
  span.dataset.index = index;
  span.className = level > 0 ? `s${level}` : '';
  return span;
}

function begin() {
  tokens = [];
  pendingSpans = [];
  promptTokenCount = 0;
  choose(-1);
  byId('answer').replaceChildren();
  byId('answer').classList.add('running');
  for (const id of ['rate', 'first', 'count']) {
    byId(id).textContent = '–';
  }
  setButtons();
  show('');
}

function showProgress(run) {
  const answer = byId('answer');
  const isAtEnd = answer.scrollHeight - answer.scrollTop - answer.clientHeight < 40;
  if (run !== running && running !== null) {
    return;
  }
  if (pendingSpans.length > 0) {
    answer.append(...pendingSpans);
    pendingSpans = [];
    if (isAtEnd) {
      answer.scrollTop = answer.scrollHeight;
    }
  }
  byId('count').textContent = countText(tokens.length);
  if (run.firstMillis > 0) {
    byId('first').textContent = `${Math.round(run.firstMillis - run.beganMillis)} ms`;
  }
  const seconds = (run.lastMillis - run.firstMillis) / 1_000;
  if (seconds > 0) {
    byId('rate').textContent = rateText((tokens.length - run.firstCount) / seconds);
  }
  const now = performance.now();
  if (running === null || now - run.drawnMillis >= DRAW_MILLIS) {
    run.drawnMillis = now;
    drawMemory();
  }
}

function end(run, message, isFailure = false) {
  running = null;
  byId('answer').classList.remove('running');
  setButtons();
  showProgress(run);
  show(message, isFailure);
}

function setButtons() {
  const isRunning = running !== null;
  byId('write').disabled = isRunning;
  byId('stop').disabled = !isRunning;
  byId('retry').disabled = isRunning || tokens.length === 0;
}

function show(message, isFailure = false) {
  byId('status').textContent = message;
  byId('status').classList.toggle('error', isFailure);
}

// ---- One token and what else it might have been

function choose(index) {
  byId('answer').querySelector('.chosen')?.classList.remove('chosen');
  chosenIndex = index;
  const span = byId('answer').querySelector(`[data-index="${index}"]`);
  const card = byId('token');
  card.hidden = span === null || tokens[index].logprob === null;
  if (card.hidden) {
    return;
  }
  span.classList.add('chosen');
  fillCard(card, tokens[index]);
  const sheet = card.parentElement.getBoundingClientRect();
  const place = span.getClientRects()[0] ?? span.getBoundingClientRect();
  const left = Math.min(place.left - sheet.left, sheet.width - card.offsetWidth - 8);
  const isBelow = place.bottom + card.offsetHeight + 12 < innerHeight || place.top < card.offsetHeight + 12;
  card.style.left = `${Math.max(8, left)}px`;
  card.style.top = `${(isBelow ? place.bottom + 8 : place.top - card.offsetHeight - 8) - sheet.top}px`;
}

function fillCard(card, token) {
  const title = document.createElement('p');
  const list = document.createElement('ol');
  title.textContent = `log-probability ${token.logprob.toFixed(3)}`;
  for (const [text, logprob] of token.top) {
    const item = document.createElement('li');
    const bar = item.appendChild(document.createElement('i'));
    const share = 100 * Math.exp(logprob);
    item.className = logprob === token.logprob && sameText(text, token.text) ? 'is' : '';
    item.appendChild(document.createElement('code')).textContent = visible(text);
    item.appendChild(document.createElement('span')).textContent = `${share >= 10 ? share.toFixed(0) : share.toFixed(1)} %`;
    bar.style.width = `${share}%`;
    list.append(item);
  }
  card.replaceChildren(title, list);
}

const sameText = (a, b) => a === b || a.startsWith('bytes:') || ENCODER.encode(b).length === 0;

const visible = (text) => text.replaceAll(' ', '␣').replaceAll('\n', '⏎').replaceAll('\t', '⇥');

const indexAt = (event) => Number(event.target.dataset?.index ?? -1);

// ---- Events

byId('form').addEventListener('submit', (event) => {
  event.preventDefault();
  write();
});
byId('retry').addEventListener('click', write);
byId('stop').addEventListener('click', () => running?.abort.abort());
byId('shade').addEventListener('change', (event) => byId('answer').classList.toggle('shaded', event.target.checked));
byId('key').addEventListener('change', () => {
  sessionStorage.setItem('key', byId('key').value);
});
byId('answer').addEventListener('pointerover', (event) => choose(indexAt(event)));
byId('answer').addEventListener('pointerleave', () => choose(-1));
byId('answer').addEventListener('click', (event) => choose(indexAt(event)));
byId('answer').addEventListener('blur', () => choose(-1));
byId('answer').addEventListener('keydown', (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (step !== undefined && tokens.length > 0) {
    event.preventDefault();
    choose(Math.min(tokens.length - 1, Math.max(0, chosenIndex + step)));
    byId('answer').querySelector('.chosen')?.scrollIntoView({ block: 'nearest' });
  }
});
document.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    write();
  } else if (event.key === 'Escape') {
    running?.abort.abort();
    choose(-1);
  }
});

byId('key').value = sessionStorage.getItem('key') ?? '';
findModel();
