// The page: from what is written, pasted or opened to rows of results.

import {classifyAll} from './batch.js';
import {decode, format, parse, textColumn} from './csv.js';
import {resultRow, totals} from './results.js';
import {Service} from './service.js';

const ROWS_AT_ONCE = 100;
const PREVIEW = 120;

const at = (id) => document.getElementById(id);
const service = new Service();
const state = {table: null, rows: [], shown: 0, limits: null, running: null, again: null};

// What is asked

/** The rows to classify: what is written, or the chosen column of a file; what has no text is left out. */
function askedRows() {
  let texts = at('lines').checked ? at('text').value.split(/\r?\n/) : [at('text').value];
  if (state.table) {
    const column = Number(at('column').value);
    texts = tableBody().map((row) => row[column] ?? '');
  }
  return texts
    .map((text, index) => ({number: index + 1, text: text.toWellFormed?.() ?? text, result: null, problem: ''}))
    .filter((row) => row.text.trim());
}

function tableBody() {
  return at('heading').checked ? state.table.rows.slice(1) : state.table.rows;
}

async function open(file) {
  const content = decode(await file.arrayBuffer());
  if (/\.txt$/i.test(file.name)) {
    forget();
    at('text').value = content.replace(/^\ufeff/, '');
    at('lines').checked = true;
    return at('text').focus();
  }
  const rows = parse(content);
  if (!rows.length) return fail(new Error(`${file.name} has no rows.`));
  const {column, heading} = textColumn(rows);
  clearError();
  state.table = {name: file.name, rows};
  at('heading').checked = heading;
  columns(column);
  at('writing').hidden = at('examples').hidden = true;
  at('loaded').hidden = false;
  describeFile();
  at('classify').focus();
}

function columns(chosen) {
  const width = Math.max(...state.table.rows.map((row) => row.length));
  const names = at('heading').checked ? state.table.rows[0] : [];
  at('column').replaceChildren(
    ...Array.from({length: width}, (_, index) => new Option(names[index]?.trim() || `column ${index + 1}`, String(index))),
  );
  at('column').value = String(chosen);
}

function describeFile() {
  const rows = askedRows();
  const first = rows[0]?.text ?? '';
  at('file-name').textContent = `${state.table.name}, ${counted(rows.length)}`;
  at('preview').textContent = first && `It begins: ${first.length > PREVIEW ? `${first.slice(0, PREVIEW)}…` : first}`;
  at('classify').textContent = `Classify ${counted(rows.length)}`;
}

function forget() {
  state.table = null;
  at('file').value = '';
  at('loaded').hidden = true;
  at('writing').hidden = at('examples').hidden = false;
  at('classify').textContent = 'Classify';
}

// Asking

async function run() {
  const rows = askedRows();
  clearError();
  if (!rows.length) {
    fail(new Error(state.table ? 'This column has no texts.' : 'Write a text first.'));
    return (state.table ? at('column') : at('text')).focus();
  }
  state.running?.abort();
  const running = (state.running = new AbortController());
  const started = performance.now();
  at('results').hidden = true;
  at('key-form').hidden = true;
  progress(0, rows.length);
  let milliseconds = 0;
  let stopped = false;
  try {
    state.limits ??= await service.limits();
    const outcome = await classifyAll(service, state.limits, rows, {
      signal: running.signal,
      busy: (seconds) => say(`The service is busy; trying again in ${seconds} s`),
      done: (count) => progress(count, rows.length),
    });
    milliseconds = outcome.milliseconds;
    if (outcome.model) at('model').textContent = `Answered by ${outcome.model}.`;
  } catch (error) {
    if (state.running !== running) return; // another run has taken its place
    stopped = error.name === 'AbortError';
    if (!stopped) fail(error, run);
  }
  if (state.running !== running) return;
  state.running = null;
  at('progress').hidden = true;
  const answered = rows.filter((row) => row.result || row.problem);
  if (answered.length) show(answered, rows.length, performance.now() - started, milliseconds, stopped);
}

async function explain(row) {
  const started = performance.now();
  try {
    const {answer} = await service.post('explain', {text: row.text});
    return {answer, took: duration(performance.now() - started)};
  } catch (error) {
    if (error.status === 401) askForKey(null);
    throw error;
  }
}

// What is shown

function show(rows, asked, elapsed, milliseconds, stopped) {
  state.rows = rows;
  state.shown = 0;
  const count = rows.length < asked ? `${rows.length} of ${counted(asked)}` : counted(asked);
  const model = milliseconds ? `; the model worked for ${duration(milliseconds)}` : '';
  at('took').textContent = `${count} in ${duration(elapsed)}${model}${stopped ? '; stopped' : ''}`;
  at('totals').replaceChildren(...totals(rows));
  at('totals').hidden = rows.length < 2;
  at('rows').replaceChildren();
  more();
  at('results').hidden = false;
  at('rows').querySelector('button')?.click();
  at('status').textContent = `Done: ${at('took').textContent}. ${spoken(rows)}`;
  // Where the focus was in something that is gone, it goes on here; elsewhere it stays with what is being written.
  if (document.activeElement === document.body) at('results-title').focus({preventScroll: true});
  at('results').scrollIntoView({block: 'nearest'});
}

function spoken(rows) {
  if (rows.length === 1 && rows[0].result) return `The text is ${rows[0].result.label}.`;
  return [...at('totals').children].map((part) => `${part.lastChild.textContent} ${part.firstChild.textContent}`).join(', ');
}

function more() {
  const next = state.rows.slice(state.shown, state.shown + ROWS_AT_ONCE);
  const items = next.map((row) => resultRow(row, explain));
  at('rows').append(...items);
  state.shown += next.length;
  const left = state.rows.length - state.shown;
  at('more').hidden = left === 0;
  at('more').textContent = `Show ${Math.min(left, ROWS_AT_ONCE)} more of ${left}`;
  return items[0];
}

function download() {
  const labels = Object.keys(state.rows.find((row) => row.result)?.result.scores ?? {});
  const lines = state.rows.map(({number, text, result, problem}) => [
    number, text, result?.label, result?.score, ...labels.map((label) => result?.scores[label]), result?.truncated, problem,
  ]);
  const content = format([['row', 'text', 'label', 'score', ...labels, 'truncated', 'problem'], ...lines]);
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([content], {type: 'text/csv'}));
  link.download = 'textserve.csv';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function progress(count, all) {
  at('progress').hidden = false;
  at('bar').max = all;
  at('bar').value = count;
  say(all === 1 ? 'Reading…' : `${count} of ${counted(all)}`);
}

function say(words) {
  at('progress-text').textContent = words;
}

function fail(error, again = null) {
  let message = error.message;
  if (error.status === 401) {
    askForKey(again);
    message = service.key && 'The service does not take this API key.';
  }
  at('error').textContent = message;
  at('error').hidden = !message;
}

function clearError() {
  at('error').hidden = true;
}

function askForKey(again) {
  state.again = again;
  at('key-form').hidden = false;
  at('key').value = '';
  at('key').focus();
}

function counted(count) {
  return `${count} ${count === 1 ? 'text' : 'texts'}`;
}

function duration(milliseconds) {
  return milliseconds < 1000 ? `${Math.max(1, Math.round(milliseconds))} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

// What the person does

at('form').addEventListener('submit', (event) => {
  event.preventDefault();
  run();
});
at('text').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    run();
  }
});
at('file').addEventListener('change', () => at('file').files[0] && open(at('file').files[0]));
at('column').addEventListener('change', describeFile);
at('heading').addEventListener('change', () => {
  columns(at('column').value);
  describeFile();
});
at('forget').addEventListener('click', () => {
  forget();
  at('text').focus();
});
for (const example of at('examples').querySelectorAll('button')) {
  example.addEventListener('click', () => {
    at('text').value = example.textContent;
    run();
  });
}
at('key-form').addEventListener('submit', (event) => {
  event.preventDefault();
  service.key = at('key').value.trim();
  at('key-form').hidden = true;
  clearError();
  state.again?.();
});
at('stop').addEventListener('click', () => state.running?.abort());
at('download').addEventListener('click', download);
at('more').addEventListener('click', () => more()?.querySelector('button')?.focus());
at('rows').addEventListener('keydown', (event) => {
  const heads = [...at('rows').querySelectorAll('button.head')];
  const place = heads.indexOf(document.activeElement);
  const target = {ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: heads.length - 1}[event.key];
  if (place < 0 || target === undefined) return;
  event.preventDefault();
  heads[target]?.focus();
});

// A file may be dropped anywhere; a browser left to itself would leave the page for it.
document.addEventListener('dragover', (event) => {
  event.preventDefault();
  at('form').classList.toggle('dropping', event.dataTransfer.types.includes('Files'));
});
for (const over of ['dragleave', 'drop']) {
  document.addEventListener(over, () => at('form').classList.remove('dropping'));
}
document.addEventListener('drop', (event) => {
  const file = event.dataTransfer.files[0];
  if (!file) return;
  event.preventDefault();
  open(file);
});
