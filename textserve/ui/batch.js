// Classifies any number of texts in requests that are within the service's limits.

import {ServiceError} from './service.js';

// Few enough that the progress bar moves; the service takes up to `limits.max_texts`.
const TEXTS_IN_A_REQUEST = 50;
const ENVELOPE = new TextEncoder().encode('{"texts":[]}').length;

/**
 * Fill in the `result` or the `problem` of each row, by its `text`; other errors are thrown.
 * `done(count)` is called after each request. Returns the milliseconds that the model worked, and its name.
 */
export async function classifyAll(service, limits, rows, {signal, busy, done}) {
  let milliseconds = 0;
  let model = '';
  for (const row of rows) row.problem = tooLarge(row.text, limits);
  let count = rows.filter((row) => row.problem).length;
  for (const chunk of chunks(rows.filter((row) => !row.problem), limits)) {
    let waiting = chunk;
    while (waiting.length) {
      try {
        const texts = waiting.map((row) => row.text);
        const response = await service.post('classify', {texts}, {signal, busy});
        waiting.forEach((row, place) => (row.result = response.answer.results[place]));
        milliseconds += response.milliseconds;
        model = response.answer.model;
        waiting = [];
      } catch (error) {
        // The service names the one text that it does not take: the others are asked again without it.
        const refused = refusedRow(error, waiting);
        refused.problem = error.message.replace(/^texts\[\d+\]/i, 'This text');
        waiting = waiting.filter((row) => row !== refused);
      }
    }
    count += chunk.length;
    done(count);
  }
  return {milliseconds, model};
}

function refusedRow(error, rows) {
  const place = error instanceof ServiceError && /^texts\[(\d+)\]$/.exec(error.where);
  if (!place || !rows[place[1]]) throw error;
  return rows[place[1]];
}

function* chunks(rows, limits) {
  const most = Math.min(TEXTS_IN_A_REQUEST, limits.max_texts);
  let chunk = [];
  let size = ENVELOPE;
  for (const row of rows) {
    const bytes = bytesOf(row.text);
    if (chunk.length && (chunk.length === most || size + bytes > limits.max_body_bytes)) {
      yield chunk;
      chunk = [];
      size = ENVELOPE;
    }
    chunk.push(row);
    size += bytes;
  }
  if (chunk.length) yield chunk;
}

function tooLarge(text, limits) {
  const characters = [...text].length;
  if (characters > limits.max_characters) {
    return `This text has ${characters} characters; ${limits.max_characters} are read at most.`;
  }
  if (ENVELOPE + bytesOf(text) > limits.max_body_bytes) return 'This text is larger than a request may be.';
  return '';
}

function bytesOf(text) {
  return new TextEncoder().encode(JSON.stringify(text)).length + 1;
}
