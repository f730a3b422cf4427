// CSV by Papa Parse, which index.html loads before this module: https://www.papaparse.com
//
// `Papa.parse(file)` decodes each part of a file separately and breaks letters at the borders of parts, so this module
// feeds Papa's parser from a decoder that keeps its state.

import {FileError, decode, decodeBeginning} from './encoding.js';

/** The separators that a user can choose, and their names. */
export const SEPARATORS = [
  [',', 'comma'],
  [';', 'semicolon'],
  ['\t', 'tab'],
  ['|', 'vertical bar'],
  ['', 'none: each line is a text'],
];

const BEGINNING = 262_144;
const ROWS_TO_GUESS_FROM = 100;
const MOST_CHARACTERS_OF_A_ROW = 1_000_000;
// Papa's parser needs a separator: no text has this noncharacter of Unicode.
const NO_SEPARATOR = '\uffff';
// Excel's first line that names the separator; it is not a row.
const SEPARATOR_LINE = /^"?sep=(.)"?(?:\r\n|\n|\r|$)/i;
const TEXT_COLUMNS = /^(text|texts|tekst|treść|tresc|opinia|komentarz|recenzja|comment|review|content|message|body|sentence)$/i;
const FIRST_COLUMNS = /^(text[ _-]?[1a]|sentence[ _-]?[1a]|question[ _-]?[1a]?|premise|query|anchor)$/i;
const SECOND_COLUMNS = /^(text[ _-]?([2b]|pair)|sentence[ _-]?[2b]|question[ _-]?[2b]|hypothesis|passage|document|answer)$/i;
const NUMBER = /^[-+]?\d+([.,]\d+)?$/;
// Cells that spreadsheets may read as formulas (OWASP, "CSV Injection"), except numbers.
const FORMULA = /^(?![-+]?\d+(?:[.,]\d+)?$)(?:\s*[=+\-@＝＋－＠]|[\t\r\n])/;

/**
 * How to read a file: `{encoding, separator, quotes, newline, heading, columns}`, guessed from its beginning.
 * `columns` has the index of the text's column, or of both columns of a `pair`. `chosen` is the user's separator.
 */
export async function guessFormat(file, encoding, pair, chosen = null) {
  const {content, complete} = await decodeBeginning(file, encoding, BEGINNING);
  const named = SEPARATOR_LINE.exec(content)?.[1];
  const plain = !named && /\.txt$/i.test(file.name);
  const outside = content.replace(/"[^"]*"/g, '');
  const newline = !outside.includes('\n') && outside.includes('\r') ? '\r' : '\n';
  const parse = (separator) => parsed(content.replace(SEPARATOR_LINE, ''), {separator, quotes: true, newline}, !complete);
  const separator = chosen ?? named ?? guessSeparator(parse, plain);
  const format = {encoding, separator, quotes: !plain || separator !== '', newline};
  return {...format, ...guessColumns(parse(separator).rows, pair)};
}

/** The first `count` rows. */
export async function firstRows(file, format, count) {
  const {content, complete} = await decodeBeginning(file, format.encoding, BEGINNING);
  return parsed(content.replace(SEPARATOR_LINE, ''), format, !complete).rows.slice(0, count);
}

/**
 * All rows of a file, in parts: `{rows, faults, unclosed}`, where `faults` are the indices of rows with misplaced
 * quotes and `unclosed` is whether a quote is open at the end. Throws a FileError for a row that does not end.
 */
export async function* readRows(file, format, options) {
  let rest = '';
  let first = true;
  let count = 0;
  for await (const content of decode(file, format.encoding, options)) {
    rest += content;
    if (first && rest) {
      rest = rest.replace(SEPARATOR_LINE, '');
      first = false;
    }
    const part = parsed(rest, format, true);
    rest = rest.slice(part.end);
    count += part.rows.length;
    if (rest.length > MOST_CHARACTERS_OF_A_ROW) throw new FileError(endlessRow(count + 1, format.quotes));
    yield part;
  }
  yield parsed(rest, format, false);
}

function endlessRow(row, quotes) {
  const what = `Row ${row} has more than a million characters`;
  return quotes
    ? `${what}: its quote is probably never closed. Correct the file, or clear “Quotes enclose cells”.`
    : `${what}. Choose another encoding, or correct the file.`;
}

function parsed(content, {separator, quotes, newline}, more) {
  // Fast mode reads quotes as plain characters.
  const parser = new Papa.Parser({delimiter: separator || NO_SEPARATOR, newline, fastMode: quotes ? undefined : true});
  const {data: rows, errors, meta} = parser.parse(content, 0, more);
  // After the last line end, Papa sees another row, with one empty cell.
  if (!more && rows.length && isEmpty(rows.at(-1))) rows.pop();
  if (newline === '\n') {
    for (const row of rows) if (row.at(-1).endsWith('\r')) row.push(row.pop().slice(0, -1));
  }
  const faults = [...new Set(errors.map((error) => error.row))].filter((row) => row < rows.length);
  return {rows, faults, unclosed: errors.some((error) => error.code === 'MissingQuotes'), end: meta.cursor};
}

function isEmpty(row) {
  return row.length === 1 && row[0] === '';
}

/** The separator by which most rows have as many cells as the first row, or '' if there is none. */
function guessSeparator(parse, plain) {
  let best = '';
  let bestShare = plain ? 0.9 : 0.5;
  let bestWidth = 1;
  for (const separator of plain ? ['\t'] : [',', ';', '\t', '|']) {
    const rows = parse(separator).rows.slice(0, ROWS_TO_GUESS_FROM).filter((row) => !isEmpty(row));
    const width = rows[0]?.length ?? 0;
    const share = rows.filter((row) => row.length === width).length / rows.length;
    // A single line of prose may have commas: only the names of columns tell that a line has columns.
    if (width < 2 || (rows.length === 1 && !names(rows[0]))) continue;
    if (share > bestShare || (share === bestShare && width > bestWidth)) {
      [best, bestShare, bestWidth] = [separator, share, width];
    }
  }
  return best;
}

function names(row) {
  return row.some((cell) => [TEXT_COLUMNS, FIRST_COLUMNS, SECOND_COLUMNS].some((names) => names.test(cell.trim())));
}

/** The columns named like texts, or else those with the longest cells; and whether the first row names the columns. */
function guessColumns(all, pair) {
  const rows = all.slice(0, ROWS_TO_GUESS_FROM);
  const [first = [], ...others] = rows;
  const named = (names) => first.findIndex((cell) => names.test(cell.trim()));
  const found = pair ? [named(FIRST_COLUMNS), named(SECOND_COLUMNS)] : [named(TEXT_COLUMNS)];
  if (pair && found[0] < 0) found[0] = named(TEXT_COLUMNS);
  const lengths = first.map((_, column) => rows.reduce((sum, row) => sum + (row[column]?.length ?? 0), 0));
  const longest = [...lengths.keys()].sort((one, other) => lengths[other] - lengths[one] || one - other);
  const free = longest.filter((column) => !found.includes(column)).slice(0, found.length);
  // If neither column has such a name, the left column has the first text.
  if (found.every((column) => column < 0)) free.sort((one, other) => one - other);
  const columns = found.map((column) => (column < 0 ? free.shift() ?? 0 : column));
  // Or if a column has numbers under a word.
  const heading = found.some((column) => column >= 0) || (others.length > 0 && first.some(
    (cell, index) => cell.trim() && !NUMBER.test(cell.trim()) && others.every((row) => NUMBER.test(row[index]?.trim() ?? '')),
  ));
  return {columns, heading};
}

/** Rows as CSV with CRLF; cells that a spreadsheet would read as formulas get an apostrophe, as OWASP recommends. */
export function formatRows(rows, separator) {
  return rows.length ? `${Papa.unparse(rows, {delimiter: separator || ',', escapeFormulae: FORMULA})}\r\n` : '';
}
