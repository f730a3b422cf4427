// An opened file: its first rows, the choices of how to read it, and warnings about it.

import {SEPARATORS, firstRows, guessFormat, readRows} from './csv.js';
import {at, counted, element, excerpt, fileSize, number} from './dom.js';
import {ENCODINGS, FileError, detect} from './encoding.js';

const ROWS_SHOWN = 5;
const COLUMNS_SHOWN = 30;
const CHARACTERS_SHOWN = 100;
// Ids of the fields where the columns of the text, and of the second text of a pair, are chosen.
const COLUMNS = ['column', 'column-pair'];
// Signs of a wrong encoding in a text: the replacement character, NUL and other control characters.
const UNREADABLE = /[\ufffd\0\x80-\x84\x86-\x9f]/;

export class FileCard {
  /** The opened file, or null. */
  file = null;
  #pair = false;
  #format = null;
  #found = null;
  #notes = [];
  #reading = new AbortController();
  #changed;
  #failed;

  /** `changed` is called with `{share}` while the file is read, then with `{texts}`, or `failed(error)` is called. */
  constructor(changed, failed) {
    this.#changed = changed;
    this.#failed = failed;
    at('separator').replaceChildren(...SEPARATORS.map(([value, name]) => new Option(name, value)));
    at('encoding').replaceChildren(...ENCODINGS.map(([value, name]) => new Option(name, value)));
    for (const id of ['encoding', 'separator', 'quotes', 'heading', ...COLUMNS]) {
      at(id).addEventListener('change', () => this.#format && this.#read((signal) => this.#choose(id, signal)));
    }
  }

  /** Whether the model takes pairs of texts; an open file is read again if this changes. */
  set pair(pair) {
    if (this.#pair === pair) return;
    this.#pair = pair;
    at('second').hidden = !pair;
    at('column-title').textContent = pair ? 'Column of the first text' : 'Texts are in';
    if (this.file) this.open(this.file);
  }

  /** Read a file: find out its format, show its first rows, and count its texts. */
  open(file, note = '') {
    this.file = file;
    this.#format = null;
    at('loaded').hidden = false;
    at('file-name').textContent = file.name;
    at('file-size').textContent = fileSize(file.size);
    at('preview').replaceChildren();
    return this.#read(async (signal) => {
      if (!file.size) throw new FileError(`${file.name} is empty.`);
      const {encoding, warning} = await detect(file, {signal, progress: (share) => this.#progress(share / 2)});
      this.#notes = [note, warning].filter(Boolean);
      const format = await guessFormat(file, encoding, this.#pair);
      if (!signal.aborted) this.#format = format;
    });
  }

  /** Forget the file. */
  close() {
    this.#reading.abort();
    this.file = this.#found = null;
    at('loaded').hidden = true;
  }

  /** The source of a job. */
  source() {
    const {file} = this;
    const format = {...this.#format};
    const {names, width, texts, skipped} = this.#found;
    return {
      name: file.name,
      columns: Array.from({length: width}, (_, index) => names[index] || `column ${index + 1}`),
      separator: format.separator,
      total: texts,
      skipped,
      async *parts() {
        let count = 0;
        for await (const {rows} of readRows(file, format)) {
          const numbered = rows.map((cells) => {
            const [text, text_pair] = textsOf(cells, format);
            return {number: ++count, cells, text, text_pair};
          });
          yield numbered.filter(({number, cells}) => isWhole(cells, format) && !(format.heading && number === 1));
        }
      },
    };
  }

  async #read(prepare) {
    this.#reading.abort();
    const {signal} = (this.#reading = new AbortController());
    this.#found = null;
    this.#progress(0);
    let unreadable = '';
    try {
      await prepare(signal);
      signal.throwIfAborted();
      await this.#show(signal);
      const found = await count(this.file, this.#format, {signal, progress: (share) => this.#progress(0.5 + share / 2)});
      if (!found.rows) throw new FileError(`${this.file.name} has no rows.`);
      this.#found = found;
    } catch (error) {
      if (signal.aborted) return;
      // Without a format and a preview, the user has nothing to choose.
      if (!(error instanceof FileError) || !this.#format || !at('preview').childElementCount) {
        this.close();
        return this.#failed(error);
      }
      unreadable = error.message;
    }
    if (signal.aborted) return;
    const warnings = [...this.#notes, ...(unreadable ? [unreadable] : doubts(this.#found, this.#format))];
    at('warnings').replaceChildren(...warnings.map((warning) => element('li', '', warning)));
    if (this.#found) at('file-size').textContent = `${fileSize(this.file.size)}, ${counted(this.#found.rows, 'row')}`;
    this.#changed({texts: this.#found?.texts ?? 0});
  }

  #progress(share) {
    this.#changed({share});
  }

  /** Apply a change by the user. */
  async #choose(id, signal) {
    const format = this.#format;
    const unseparated = !format.separator;
    format.encoding = at('encoding').value;
    format.separator = at('separator').value;
    format.quotes = at('quotes').checked;
    format.heading = at('heading').checked;
    format.columns = format.columns.map((_, index) => Number(at(COLUMNS[index]).value));
    if (id === 'encoding') this.#notes = [];
    if (id === 'encoding' || id === 'separator') {
      // The file then has other columns.
      const guessed = await guessFormat(this.file, format.encoding, this.#pair, format.separator);
      if (signal.aborted) return;
      const {newline, columns, heading} = guessed;
      Object.assign(format, {newline, columns, heading});
      // Without a separator, the user could not tell whether quotes enclose cells.
      if (unseparated) format.quotes = guessed.quotes;
    }
  }

  async #show(signal) {
    const format = this.#format;
    const rows = await firstRows(this.file, format, ROWS_SHOWN + 1);
    signal.throwIfAborted();
    const width = rows.reduce((most, row) => Math.max(most, row.length), 1);
    const names = format.heading ? rows[0] : [];
    const columns = Array.from({length: width}, (_, index) => names?.[index]?.trim() || `column ${index + 1}`);
    if (!SEPARATORS.some(([value]) => value === format.separator)) {
      at('separator').append(new Option(format.separator, format.separator));
    }
    at('encoding').value = format.encoding;
    at('separator').value = format.separator;
    at('quotes').checked = format.quotes;
    at('heading').checked = format.heading;
    format.columns.forEach((column, index) => {
      const choice = at(COLUMNS[index]);
      choice.replaceChildren(...columns.map((name, position) => new Option(excerpt(name, CHARACTERS_SHOWN), position)));
      choice.value = String(column);
    });
    at('preview').replaceChildren(table(rows, columns, format));
  }
}

/** The texts of a row: one, or both of a pair. */
function textsOf(cells, {columns}) {
  return columns.map((column) => cells[column] ?? '');
}

function isWhole(cells, format) {
  return textsOf(cells, format).every((text) => text.trim());
}

/** The first rows, with the columns of the texts marked. */
function table(rows, columns, {heading, columns: chosen}) {
  const cell = (name, content, index) =>
    element(name, chosen.includes(index) ? 'chosen' : '', excerpt(content ?? '', CHARACTERS_SHOWN));
  const shown = columns.slice(0, Math.max(COLUMNS_SHOWN, ...chosen.map((column) => column + 1)));
  const head = element('tr', '', element('th', '', 'row'), ...shown.map((name, index) => cell('th', name, index)));
  const first = heading ? 1 : 0;
  const lines = rows.slice(first, first + ROWS_SHOWN).map((row, position) =>
    element('tr', '', element('td', 'quiet', String(first + position + 1)), ...shown.map((_, index) => cell('td', row[index], index))),
  );
  return element('table', '', element('caption', 'hidden', 'The first rows'), element('thead', '', head), element('tbody', '', ...lines));
}

/** Counts the rows of the whole file; keeps only the counts and the first row. */
async function count(file, format, options) {
  const found = {rows: 0, texts: 0, skipped: 0, width: 0, names: [], unclosed: false};
  const kinds = {misquoted: [0, 0], ragged: [0, 0], unreadable: [0, 0]}; // how many rows, and the first of them
  const note = (kind, row) => {
    if (!kinds[kind][0]++) kinds[kind][1] = row;
  };
  let usual = 0;
  for await (const {rows, faults, unclosed} of readRows(file, format, options)) {
    for (const index of faults) note('misquoted', found.rows + index + 1);
    found.unclosed ||= unclosed;
    for (const row of rows) {
      found.rows++;
      usual ||= row.length;
      found.width = Math.max(found.width, row.length);
      if (row.length !== usual && row.join('') !== '') note('ragged', found.rows);
      if (format.heading && found.rows === 1) {
        found.names = row;
        continue;
      }
      if (isWhole(row, format)) found.texts++;
      else found.skipped++;
      if (textsOf(row, format).some((text) => UNREADABLE.test(text))) note('unreadable', found.rows);
    }
  }
  return {...found, ...kinds};
}

function doubts({rows, texts, skipped, unclosed, misquoted, ragged, unreadable}, {quotes, columns}) {
  const warnings = [];
  const add = ([count, row], problem) => {
    if (count) warnings.push(`${count === 1 ? `Row ${number(row)} has` : `${number(count)} rows, the first is row ${number(row)}, have`} ${problem}`);
  };
  if (unclosed) {
    warnings.push(`The last quote, in row ${number(rows)}, is never closed: all that follows it is a single cell. `
      + 'Correct the file, or clear “Quotes enclose cells”.');
  } else if (quotes) {
    add(misquoted, 'a quote in the middle of a cell: rows may be merged. Correct the file, or clear “Quotes enclose cells”.');
  }
  add(ragged, 'more or fewer cells than the first row. Check the separator.');
  add(unreadable, 'characters that do not fit the encoding, such as �. Try another encoding.');
  const [first, second] = columns;
  const pair = columns.length > 1;
  if (first === second) warnings.push('Both texts are in the same column. Choose another column for one of them.');
  if (!texts) warnings.push(`${pair ? 'No row has both texts' : 'This column has no texts'}. Choose another column or separator.`);
  else if (skipped) warnings.push(`${counted(skipped, 'row')} without ${pair ? 'both texts' : 'a text in this column'} will be skipped.`);
  return warnings;
}
