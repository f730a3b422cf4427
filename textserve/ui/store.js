// The results of any number of rows. The rows themselves are in blobs, which the browser moves to its disk cache; in
// this page's memory is only what sorting and filtering needs, eight bytes a row.

import {formatRows} from './csv.js';

const ROWS_IN_A_BLOB = 256;
const ROWS_IN_A_PART = 4096;
/** In place of a label: a row that the service rejected. */
export const REJECTED = -1;

export class ResultStore {
  /** How many rows there are, how many of each label, and how many were rejected. */
  length = 0;
  counts;
  rejected = 0;
  #blobs = [];
  #open = [];
  #labels = new Int32Array(1024);
  #scores = new Float32Array(1024);

  /** `labels` are the names of the model's labels, in its order. */
  constructor(labels) {
    this.labels = [...labels];
    this.counts = labels.map(() => 0);
  }

  /** Add rows `{number, cells, text}` with a `result` of the service or a `problem`. */
  add(rows) {
    for (const row of rows) {
      if (this.length === this.#labels.length) this.#grow();
      const label = row.result ? this.#labelOf(row.result) : REJECTED;
      if (label === REJECTED) this.rejected++;
      else this.counts[label]++;
      this.#labels[this.length] = label;
      this.#scores[this.length] = row.result?.score ?? -1;
      this.length++;
      this.#open.push(row);
      if (this.#open.length === ROWS_IN_A_BLOB) {
        this.#blobs.push(new Blob([JSON.stringify(this.#open)]));
        this.#open = [];
      }
    }
  }

  /**
   * The indices of the rows with a label, or all with `null`; by `row`, `label`, `highest` or `lowest` score. Rejected
   * rows are last.
   */
  order(label, by) {
    const labels = this.#labels;
    const scores = this.#scores;
    const indices = new Uint32Array(this.length);
    let count = 0;
    for (let index = 0; index < this.length; index++) {
      if (label === null || labels[index] === label) indices[count++] = index;
    }
    const chosen = indices.subarray(0, count);
    const last = (one, other) => (labels[one] === REJECTED) - (labels[other] === REJECTED);
    if (by === 'label') chosen.sort((one, other) => last(one, other) || labels[one] - labels[other] || one - other);
    if (by === 'highest') chosen.sort((one, other) => scores[other] - scores[one] || one - other);
    if (by === 'lowest') chosen.sort((one, other) => last(one, other) || scores[one] - scores[other] || one - other);
    return chosen;
  }

  /** The rows at some indices. */
  async rows(indices) {
    const parts = new Map();
    for (const index of indices) {
      const part = Math.floor(index / ROWS_IN_A_BLOB);
      if (!parts.has(part)) parts.set(part, await this.#part(part));
    }
    return Array.from(indices, (index) => parts.get(Math.floor(index / ROWS_IN_A_BLOB))[index % ROWS_IN_A_BLOB]);
  }

  /** All rows as CSV for a spreadsheet: the columns of the input, padded to their number, and those of the results. */
  async csv({columns, separator}) {
    const heading = [...columns];
    for (const name of ['row', 'label', 'score', ...this.labels, 'truncated', 'problem']) heading.push(unused(name, heading));
    const parts = ['\ufeff', formatRows([heading], separator)]; // by the byte order mark Excel knows UTF-8
    let lines = [];
    const end = this.length; // more may be added while the blobs are read
    for (let part = 0; part * ROWS_IN_A_BLOB < end; part++) {
      for (const row of (await this.#part(part)).slice(0, end - part * ROWS_IN_A_BLOB)) {
        lines.push([...columns.map((_, column) => row.cells[column] ?? ''), ...this.#added(row)]);
      }
      if (lines.length >= ROWS_IN_A_PART) {
        parts.push(new Blob([formatRows(lines, separator)]));
        lines = [];
      }
    }
    return new Blob([...parts, formatRows(lines, separator)], {type: 'text/csv'});
  }

  #added({number, result, problem}) {
    const scores = this.labels.map((label) => result?.scores[label] ?? '');
    return [number, result ? String(result.label) : '', result?.score ?? '', ...scores, result?.truncated ?? '', problem ?? ''];
  }

  async #part(index) {
    return index < this.#blobs.length ? JSON.parse(await this.#blobs[index].text()) : [...this.#open];
  }

  /** A label that the model did not name may come from another version of it. */
  #labelOf({label}) {
    const index = this.labels.indexOf(String(label));
    if (index >= 0) return index;
    this.counts.push(0);
    return this.labels.push(String(label)) - 1;
  }

  #grow() {
    const [labels, scores] = [new Int32Array(2 * this.length), new Float32Array(2 * this.length)];
    labels.set(this.#labels);
    scores.set(this.#scores);
    [this.#labels, this.#scores] = [labels, scores];
  }
}

function unused(name, names) {
  let candidate = name;
  for (let suffix = 2; names.includes(candidate); suffix++) candidate = `${name} ${suffix}`;
  return candidate;
}
