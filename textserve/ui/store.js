// The results of any number of rows. The rows themselves are in blobs, which the browser moves to its disk cache; the
// page's memory has only what sorting and filtering need: eight bytes per row, and six per label that applies to it.

import {formatRows} from './csv.js';

const ROWS_IN_A_BLOB = 256;
const ROWS_IN_A_PART = 4096;
const LABEL_SEPARATOR = '; ';
/** In place of a label's index: the rows that the service rejected, and the rows to which no label applies. */
export const REJECTED = -1;
export const NONE = -2;

export class ResultStore {
  /** Number of rows, of rows to which each label applies, of rows to which none applies, and of rejected rows. */
  length = 0;
  counts;
  none = 0;
  rejected = 0;
  /** The lowest and the highest score, and the sum of all scores. */
  lowest = Infinity;
  highest = -Infinity;
  sum = 0;
  #blobs = [];
  #open = [];
  #scores = new Float32Array(1024); // of each row; not a number if it was rejected
  #ends = new Uint32Array(1024); // where the labels of each row end in the two arrays below
  #labels = new Uint16Array(1024);
  #labelScores = new Float32Array(1024);

  /** `model` is the model that answers. */
  constructor(model) {
    this.model = model;
    this.labels = [...model.labels];
    this.counts = this.labels.map(() => 0);
  }

  /** Add rows `{number, cells, text}` with a `result` of the service or a `problem`. */
  add(rows) {
    for (const row of rows) {
      this.#index(row.result);
      this.#open.push(row);
      if (this.#open.length === ROWS_IN_A_BLOB) {
        this.#blobs.push(new Blob([JSON.stringify(this.#open)]));
        this.#open = [];
      }
    }
  }

  /**
   * The indices of the rows to which a label applies, or of all with `null`; ordered by `row`, by the first `label` of
   * each row, or by the `highest` or `lowest` score, which is the label's if several may apply. Rejected rows are last.
   */
  order(label, by) {
    // Called with every batch: its time must not grow with the number of rows.
    if (label === null && by === 'row') return new AllRows(this.length);
    const scores = label !== null && label >= 0 && this.model.several ? new Float32Array(this.length) : this.#scores;
    const indices = new Uint32Array(this.length);
    let count = 0;
    for (let index = 0; index < this.length; index++) {
      const entry = this.#find(index, label);
      if (entry < 0) continue;
      indices[count++] = index;
      if (scores !== this.#scores) scores[index] = this.#labelScores[entry];
    }
    const chosen = indices.subarray(0, count);
    const last = (one, other) => Number.isNaN(scores[one]) - Number.isNaN(scores[other]);
    const first = (index) => (this.#start(index) < this.#ends[index] ? this.#labels[this.#start(index)] : Infinity);
    if (by === 'label') chosen.sort((one, other) => last(one, other) || compare(first(one), first(other)) || one - other);
    if (by === 'highest') chosen.sort((one, other) => last(one, other) || scores[other] - scores[one] || one - other);
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

  /** All rows as CSV for a spreadsheet: the columns of the input, missing cells filled with '', and the results. */
  async csv({columns, separator}) {
    const heading = [...columns];
    for (const name of ['row', ...this.#answer, 'truncated', 'problem']) heading.push(unused(name, heading));
    const parts = ['\ufeff', formatRows([heading], separator)]; // Excel needs the byte order mark to read UTF-8
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

  /** The columns of an answer. */
  get #answer() {
    const {several, number} = this.model;
    if (number) return ['score'];
    return several ? ['labels', ...this.labels] : ['label', 'score', ...this.labels];
  }

  #added({number, result, problem}) {
    let answer = this.#answer.map(() => '');
    if (result) {
      const applied = this.model.applied(result).map(([label]) => label).join(LABEL_SEPARATOR);
      const scores = this.model.number ? [] : this.labels.map((label) => result.scores[label] ?? '');
      answer = [...(this.model.number ? [] : [applied]), ...(this.model.several ? [] : [result.score]), ...scores];
    }
    return [number, ...answer, result?.truncated ?? '', problem ?? ''];
  }

  async #part(index) {
    return index < this.#blobs.length ? JSON.parse(await this.#blobs[index].text()) : [...this.#open];
  }

  /** Keep what sorting and filtering need of a result, or of a rejected row, which has none. */
  #index(result) {
    let end = this.#start(this.length);
    const score = result ? this.model.score(result) : NaN;
    const applied = result ? this.model.applied(result) : [];
    if (!result) this.rejected++;
    else if (!applied.length) this.none++;
    for (const [label, labelScore] of applied) {
      const index = this.#labelOf(label);
      this.counts[index]++;
      this.#labels = withRoom(this.#labels, end);
      this.#labelScores = withRoom(this.#labelScores, end);
      this.#labels[end] = index;
      this.#labelScores[end++] = labelScore;
    }
    if (result) {
      this.lowest = Math.min(this.lowest, score);
      this.highest = Math.max(this.highest, score);
      this.sum += score;
    }
    this.#scores = withRoom(this.#scores, this.length);
    this.#ends = withRoom(this.#ends, this.length);
    this.#scores[this.length] = score;
    this.#ends[this.length++] = end;
  }

  #start(index) {
    return index ? this.#ends[index - 1] : 0;
  }

  /** Position of a label of a row in the arrays, or -1; without a label, 0 if the row is wanted, else -1. */
  #find(index, label) {
    const [start, end] = [this.#start(index), this.#ends[index]];
    if (label === null) return 0;
    if (label === REJECTED) return Number.isNaN(this.#scores[index]) - 1;
    if (label === NONE) return (start === end && !Number.isNaN(this.#scores[index])) - 1;
    for (let entry = start; entry < end; entry++) if (this.#labels[entry] === label) return entry;
    return -1;
  }

  /** The index of a label. A label that the model did not name may come from another version of the model. */
  #labelOf(label) {
    const index = this.labels.indexOf(label);
    if (index >= 0) return index;
    this.counts.push(0);
    return this.labels.push(label) - 1;
  }
}

/** The indices of all rows, without an array of them. */
class AllRows {
  constructor(length) {
    this.length = length;
  }

  slice(start, end) {
    return Array.from({length: Math.max(0, Math.min(end, this.length) - start)}, (_, index) => start + index);
  }
}

/** The typed array, or a copy twice as long if it has no room at the index. */
function withRoom(array, index) {
  if (index < array.length) return array;
  const longer = new array.constructor(2 * array.length);
  longer.set(array);
  return longer;
}

/** Compares two numbers, also if both are infinite. */
function compare(one, other) {
  return one === other ? 0 : one - other;
}

function unused(name, names) {
  let candidate = name;
  for (let suffix = 2; names.includes(candidate); suffix++) candidate = `${name} ${suffix}`;
  return candidate;
}
