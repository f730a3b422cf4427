// The page: from what is written, pasted or opened to results.

import {at, counted, duration, focusIsLost, number} from './dom.js';
import {FileCard} from './file.js';
import {Job} from './job.js';
import {ResultsView} from './results.js';
import {Service} from './service.js';

const ROWS_THAT_OPEN = 25;
const LABELS_NAMED = 12;
const MILLISECONDS_BEFORE_AN_ESTIMATE = 5000;

const service = new Service();
const view = new ResultsView(explain);
const card = new FileCard(fileChanged, (error) => {
  forget();
  fail(error);
});
const state = {about: null, job: null, again: null, reading: false, starting: null};

// The model

/** The limits and the model of the service, which are asked for until they are known. */
async function about() {
  if (!state.about) {
    const [limits, model] = await Promise.all([service.limits(), service.model()]);
    state.about = {limits, labels: model.labels};
    document.title = `${model.name} · textserve`;
    at('name').textContent = model.name;
    const more = model.labels.length - LABELS_NAMED;
    at('labels').textContent =
      `Labels: ${model.labels.slice(0, LABELS_NAMED).join(', ')}${more > 0 ? `, and ${number(more)} more` : ''}.`;
  }
  return state.about;
}

// Files

async function open(files) {
  const [file] = files;
  if (!file) return;
  clearError();
  at('writing').hidden = at('examples').hidden = true;
  await card.open(file, files.length > 1 ? `Only ${file.name} is opened: open other files one after another.` : '');
}

function fileChanged({share = 1, texts}) {
  state.reading = texts === undefined;
  const classify = at('classify');
  classify.textContent = state.reading ? `Reading… ${Math.floor(share * 100)}%` : `Classify ${counted(texts)}`;
  classify.disabled = state.reading || !texts;
  // What had the focus, such as the button that opened the file, is of no use now.
  if (texts && (focusIsLost() || document.activeElement === at('file'))) classify.focus();
}

function forget() {
  card.close();
  state.reading = false;
  at('file').value = '';
  at('writing').hidden = at('examples').hidden = false;
  at('classify').textContent = 'Classify';
  at('classify').disabled = false;
}

/** What is written: each line is a row, or all of it is. */
function written() {
  const lines = at('lines').checked ? at('text').value.split(/\r?\n/) : [at('text').value];
  const rows = lines.map((line, index) => {
    const text = line.toWellFormed?.() ?? line;
    return {number: index + 1, cells: [text], text};
  });
  while (rows.length && !rows.at(-1).text.trim()) rows.pop(); // line ends at the end
  const texts = rows.filter((row) => row.text.trim());
  return {
    name: 'texts.csv',
    columns: ['text'],
    separator: ',',
    total: texts.length,
    skipped: rows.length - texts.length,
    async *parts() {
      yield texts;
    },
  };
}

// Classification

async function start() {
  if (state.reading) return;
  const source = card.file ? card.source() : written();
  clearError();
  if (!source.total) {
    fail(new Error('Write a text first.'));
    return at('text').focus();
  }
  state.job?.stop();
  state.job = null;
  at('results').hidden = true;
  progress(0, source.total);
  const starting = (state.starting = {});
  let problem = null;
  const known = await about().catch((error) => (problem = error));
  if (state.starting !== starting) return; // another click has replaced it
  if (problem) {
    at('progress').hidden = true;
    return fail(problem, start);
  }
  const job = (state.job = new Job(service, source, known));
  view.start(job);
  await run(job);
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
  // Where the focus was in something that is gone, it goes on here; elsewhere it stays with what is being written.
  if (focusIsLost()) {
    (at('resume').hidden ? at('results-title') : at('resume')).focus({preventScroll: true});
  }
  at('results').scrollIntoView({block: 'nearest'});
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
  say(total === 1 ? 'Classifying…' : `${number(count)} of ${counted(total)}${left}`);
}

function say(words) {
  at('progress-text').textContent = words;
}

function fail(error, again = null) {
  let {message} = error;
  if (error.status === 401) {
    askForKey(again);
    message = service.key && 'The service does not take this API key.';
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
at('text').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    start();
  }
});
at('file').addEventListener('change', () => open(at('file').files));
at('forget').addEventListener('click', () => {
  forget();
  at('text').focus();
});
for (const example of at('examples').querySelectorAll('button')) {
  example.addEventListener('click', () => {
    at('text').value = example.textContent;
    start();
  });
}
at('key-form').addEventListener('submit', (event) => {
  event.preventDefault();
  service.key = at('key').value.trim();
  clearError();
  state.again?.();
});
at('stop').addEventListener('click', () => state.job?.stop());
at('resume').addEventListener('click', () => run(state.job));
at('download').addEventListener('click', download);

// A file may be dropped anywhere; a browser left to itself would leave the page for it.
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

// A service with keys names its model once it has the key.
about().catch((error) => error.status === 401 || fail(error));
