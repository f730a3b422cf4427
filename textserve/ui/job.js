// Classifies any number of texts in requests that are within the service's limits; it can be stopped and resumed.

import {FileError} from './encoding.js';
import {ResultStore} from './store.js';

// Few enough that the progress bar moves; the service takes up to `limits.max_texts`.
const TEXTS_IN_A_REQUEST = 50;
const ENVELOPE = new TextEncoder().encode('{"texts":[]}').length;
// Statuses of a request that fails again if it is repeated.
const REJECTED = [400, 413, 422];
// The text in which an error is, as the service names it and as the page names it.
const INPUT = /^texts\[(\d+)\](?:\.(text|text_pair)\b)?/i;
const PLACES = {'': 'This text', text: 'The first text', text_pair: 'The second text'};

/**
 * The classification of a source: an object with `name`, `columns`, `separator`, `total` texts, `skipped` rows, and
 * `parts()`, an async iterator of arrays of rows `{number, cells, text}`; rows of pairs also have `text_pair`.
 *
 * `store` has the results so far, `finished` is whether these are all, and `failed` whether the source cannot be read
 * any further.
 */
export class Job {
  finished = false;
  failed = false;
  /** Milliseconds that the job has run, without the time it was stopped, and that the model has worked. */
  elapsed = 0;
  inference = 0;
  /** Name and version of the model that answered. */
  model = '';
  #batch = [];
  #controller = null;

  constructor(service, source, model) {
    this.source = source;
    this.store = new ResultStore(model);
    this.service = service;
    this.limits = model.limits;
    this.batches = batches(source, model.limits);
  }

  get running() {
    return this.#controller !== null;
  }

  /** Abort the request in flight; `run` then throws an AbortError. */
  stop() {
    this.#controller?.abort();
  }

  /**
   * Classify the rest. `done()` is called after each batch, `busy(seconds)` before each wait for the service.
   * Errors of the service that concern one text become the `problem` of its row; others are thrown.
   */
  async run({done, busy}) {
    const {signal} = (this.#controller = new AbortController());
    const before = this.elapsed;
    const started = performance.now();
    const measure = () => (this.elapsed = before + performance.now() - started);
    try {
      while (await this.#fill()) {
        await this.#classify(this.#batch, {signal, busy});
        this.store.add(this.#batch);
        this.#batch = [];
        measure();
        done();
      }
      this.finished = true;
    } catch (error) {
      this.failed = error instanceof FileError;
      throw error;
    } finally {
      measure();
      this.#controller = null;
    }
  }

  /** Load the next batch, unless the last one is still unanswered; return whether there is a batch. */
  async #fill() {
    if (!this.#batch.length) this.#batch = (await this.batches.next()).value ?? [];
    return this.#batch.length > 0;
  }

  async #classify(batch, options) {
    for (const row of batch) row.problem ||= problemOf(row, this.limits);
    let rows = batch.filter((row) => !row.result && !row.problem);
    while (rows.length) {
      try {
        const {answer, milliseconds} = await this.service.post('classify', {texts: rows.map(inputOf)}, options);
        rows.forEach((row, index) => (row.result = answer.results[index]));
        this.inference += milliseconds;
        this.model = answer.model;
        return;
      } catch (error) {
        if (!REJECTED.includes(error.status)) throw error;
        const rejected = rows.length === 1 ? rows[0] : rowOf(error, rows);
        if (rejected) rejected.problem = error.message.replace(INPUT, (_, index, key) => PLACES[key ?? '']);
        // The error of a proxy with a limit of its own names no text: smaller requests may pass.
        else await this.#classify(rows.slice(0, Math.ceil(rows.length / 2)), options);
        rows = rows.filter((row) => !row.result && !row.problem);
      }
    }
  }
}

function rowOf(error, rows) {
  const found = INPUT.exec(error.where ?? '');
  return found && rows[found[1]];
}

async function* batches(source, limits) {
  const most = Math.min(TEXTS_IN_A_REQUEST, limits.max_texts);
  let batch = [];
  let size = ENVELOPE;
  for await (const rows of source.parts()) {
    for (const row of rows) {
      const bytes = bytesOf(row);
      if (batch.length && (batch.length === most || size + bytes > limits.max_body_bytes)) {
        yield batch;
        batch = [];
        size = ENVELOPE;
      }
      batch.push(row);
      size += bytes;
    }
  }
  if (batch.length) yield batch;
}

/** A text as the service takes it, or a pair. */
function inputOf({text, text_pair}) {
  return text_pair === undefined ? text : {text, text_pair};
}

function problemOf(row, limits) {
  for (const key of row.text_pair === undefined ? [''] : ['text', 'text_pair']) {
    const text = row[key || 'text'];
    const characters = text.length > limits.max_characters ? [...text].length : 0;
    if (characters > limits.max_characters) {
      return `${PLACES[key]} has ${characters} characters; the limit is ${limits.max_characters}.`;
    }
  }
  const what = row.text_pair === undefined ? 'text' : 'pair';
  return ENVELOPE + bytesOf(row) > limits.max_body_bytes ? `This ${what} is larger than a request may be.` : '';
}

function bytesOf(row) {
  return new TextEncoder().encode(JSON.stringify(inputOf(row))).length + 1;
}
