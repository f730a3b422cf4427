// The page: takes texts that are written, pasted or opened as a file, and shows their results.

import {at, button, counted, duration, element, excerpt, focusIsLost, number} from './dom.js';
import {FileCard} from './file.js';
import {Job} from './job.js';
import {ResultsView} from './results.js';
import {Service} from './service.js';
import {written} from './written.js';

const ROWS_THAT_OPEN = 25;
const CHARACTERS_OF_AN_EXAMPLE = 60;
const MILLISECONDS_BEFORE_AN_ESTIMATE = 5000;

const service = new Service();
const view = new ResultsView(explain);
const card = new FileCard(fileChanged, (error) => {
  forget();
  fail(error);
});
const state = {model: null, job: null, again: null, reading: false, starting: null};

// The model

/** The model of the service; requested at each call until the service has answered. */
async function known() {
  if (state.model) return state.model;
  const model = await service.model();
  if (state.model) return state.model; // another request was faster
  state.model = model;
  document.title = `${model.name} · textserve`;
  at('name').textContent = model.name;
  at('description').textContent = model.description;
  at('labels').textContent = model.answers;
  at('examples').replaceChildren(element('span', 'quiet', 'or try'), ...model.examples.map(exampleOf));
  at('examples').hidden = !model.examples.length || card.file;
  card.pair = model.pair;
  if (model.pair) {
    at('text-title').textContent = 'First text';
    at('text').rows = 3;
    at('writing-pair').hidden = false;
    at('lines-title').textContent = 'Each line is a text of its own; the lines of both fields are pairs';
  }
  return model;
}

/** A button that classifies an example. */
function exampleOf({text, text_pair}) {
  const shown = [text, text_pair].filter(Boolean).map((part) => excerpt(part, CHARACTERS_OF_AN_EXAMPLE));
  return button('chip', shown.join(' / '), () => {
    at('text').value = text;
    at('text-pair').value = text_pair ?? '';
    if (/[\r\n]/.test(text + text_pair)) at('lines').checked = false;
    start();
  });
}

// Files

async function open(files) {
  const [file] = files;
  if (!file) return;
  clearError();
  unstart();
  at('writing').hidden = at('examples').hidden = true;
  await card.open(file, files.length > 1 ? `Only ${file.name} is opened: open other files one after another.` : '');
}

function fileChanged({share = 1, texts}) {
  state.reading = texts === undefined;
  const classify = at('classify');
  classify.textContent = state.reading ? `Reading… ${Math.floor(share * 100)}%` : `Classify ${counted(texts, state.model?.noun)}`;
  classify.disabled = state.reading || !texts;
  // The element that had the focus, such as the button that opened the file, is of no use now.
  if (texts && (focusIsLost() || document.activeElement === at('file'))) classify.focus();
}

function forget() {
  card.close();
  state.reading = false;
  at('file').value = '';
  at('writing').hidden = false;
  at('examples').hidden = !state.model?.examples.length;
  at('classify').textContent = 'Classify';
  at('classify').disabled = false;
}

// Classification

async function start() {
  if (state.reading) return;
  clearError();
  const starting = (state.starting = {});
  let model;
  let source;
  try {
    if (!state.model) progress(0, 1);
    model = await known();
    // If the page learns only now that the model takes pairs, it reads an opened file again.
    if (state.starting !== starting || state.reading) return; // or another click has replaced this one
    source = card.file ? card.source() : sourceOf(model);
  } catch (error) {
    return state.starting === starting && fail(error, start);
  } finally {
    if (state.starting === starting) unstart();
  }
  if (!source) return;
  state.job?.stop();
  at('results').hidden = true;
  const job = (state.job = new Job(service, source, model));
  view.start(job);
  await run(job);
}

/** Forget a click on Classify that still waits for the model. */
function unstart() {
  if (state.starting && !state.job?.running) at('progress').hidden = true;
  state.starting = null;
}

/** The source of the written texts; without a text, shows an error, focuses the empty field, and returns null. */
function sourceOf(model) {
  const fields = [at('text'), at('text-pair')].slice(0, model.pair ? 2 : 1);
  const source = written(fields.map((field) => field.value), at('lines').checked);
  if (source.total) return source;
  const [empty] = [...fields.filter((field) => !field.value.trim()), at('text')];
  fail(new Error(empty === at('text') ? 'Write a text first.' : 'Write the second text too.'));
  empty.focus();
  return null;
}

async function run(job) {
  clearError();
  const {total} = job.source;
  progress(job.store.length, total, job.elapsed);
  at('resume').hidden = true;
  let problem = null;
  try {
    await job.run({
      busy: (seconds) => say(`The service is busy; trying again in ${seconds} s`),
      done: () => {
        progress(job.store.length, total, job.elapsed);
        view.update();
      },
    });
  } catch (error) {
    problem = error;
  }
  if (state.job !== job) return; // another job has replaced it
  at('progress').hidden = true;
  if (problem && problem.name !== 'AbortError') fail(problem, () => run(job));
  if (job.model) at('model').textContent = `Answered by ${job.model}.`;
  await view.update();
  await finish(job, problem);
}

async function finish(job, problem) {
  const length = job.store.length;
  at('status').textContent = `${problem ? 'Stopped' : 'Done'}: ${view.summary()}. ${await view.spoken()}`;
  if (!length) return;
  if (!problem && !card.file && length <= ROWS_THAT_OPEN) at('rows').querySelector('button[aria-expanded="false"]')?.click();
  // If the focused element is gone, move the focus here; otherwise leave it, since the user may be writing.
  if (focusIsLost()) {
    (at('resume').hidden ? at('results-title') : at('resume')).focus({preventScroll: true});
  }
  at('results').scrollIntoView({block: 'nearest'});
}

async function explain({text, text_pair}, labels) {
  const started = performance.now();
  try {
    const {answer} = await service.post('explain', {text, text_pair, labels});
    return {answer, took: duration(performance.now() - started)};
  } catch (error) {
    if (error.status === 401) askForKey(null);
    throw error;
  }
}

async function download() {
  const {store, source} = state.job;
  at('download').disabled = true;
  try {
    const [, stem, extension] = /^(.*?)(\.(?:csv|tsv|txt|tab))?$/i.exec(source.name);
    const link = document.createElement('a');
    link.href = URL.createObjectURL(await store.csv(source));
    link.download = `${stem}-classified${extension ?? '.csv'}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } finally {
    at('download').disabled = false;
  }
}

// Messages

function progress(count, total, elapsed = 0) {
  at('progress').hidden = false;
  at('bar').max = total;
  at('bar').value = count;
  const left = count && elapsed > MILLISECONDS_BEFORE_AN_ESTIMATE ? `, about ${duration((elapsed / count) * (total - count))} left` : '';
  say(total === 1 ? 'Classifying…' : `${number(count)} of ${counted(total, state.model?.noun)}${left}`);
}

function say(words) {
  at('progress-text').textContent = words;
}

function fail(error, again = null) {
  let {message} = error;
  if (error.status === 401) {
    askForKey(again);
    message = service.key && 'The service does not accept this API key.';
  }
  at('error').textContent = message;
  at('error').hidden = !message;
}

function clearError() {
  at('error').hidden = at('key-form').hidden = true;
}

function askForKey(again) {
  state.again = again;
  at('key-form').hidden = false;
  at('key').value = '';
  at('key').focus();
}

// What the user does

at('form').addEventListener('submit', (event) => {
  event.preventDefault();
  start();
});
at('writing').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    start();
  }
});
at('file').addEventListener('change', () => open(at('file').files));
// Choosing the same file again, once it is corrected, is a change only if the field is empty.
at('file').addEventListener('click', () => {
  at('file').value = '';
});
at('forget').addEventListener('click', () => {
  forget();
  at('text').focus();
});
at('key-form').addEventListener('submit', (event) => {
  event.preventDefault();
  service.key = at('key').value.trim();
  clearError();
  state.again?.();
});
at('stop').addEventListener('click', () => {
  if (state.starting) unstart();
  else state.job?.stop();
});
at('resume').addEventListener('click', () => run(state.job));
at('download').addEventListener('click', download);

// A file may be dropped anywhere; by default a browser would leave the page and show the file.
document.addEventListener('dragover', (event) => {
  event.preventDefault();
  at('form').classList.toggle('dropping', event.dataTransfer.types.includes('Files'));
});
for (const end of ['dragleave', 'drop']) {
  document.addEventListener(end, () => at('form').classList.remove('dropping'));
}
document.addEventListener('drop', (event) => {
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  open(event.dataTransfer.files);
});
window.addEventListener('beforeunload', (event) => {
  if (state.job?.running) event.preventDefault();
});

// After a reload, Firefox keeps a button disabled, but does not keep the file because of which it was disabled.
forget();
// Without an API key, a service that needs one does not describe its model: the page asks for the key on Classify.
known().catch((error) => error.status === 401 || fail(error));
