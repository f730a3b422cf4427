// CSV as RFC 4180 has it: fields in double quotes may hold separators, line ends and doubled quotes.

const SEPARATORS = [',', ';', '\t'];
const TEXT_COLUMNS = ['text', 'tekst'];

/** The characters of a file: UTF-8, or else Windows-1250, in which spreadsheets in Poland save. */
export function decode(bytes) {
  try {
    return new TextDecoder('utf-8', {fatal: true}).decode(bytes);
  } catch {
    return new TextDecoder('windows-1250').decode(bytes);
  }
}

/** Rows of fields. Lines may end in CRLF, LF or CR; lines with nothing in them are no rows. */
export function parse(content, separator = separatorOf(content)) {
  const rows = [];
  let row = [];
  let field = '';
  let quoted = false;
  const endRow = () => {
    row.push(field);
    if (row.length > 1 || field !== '') rows.push(row);
    row = [];
    field = '';
  };
  for (let place = content.startsWith('\ufeff') ? 1 : 0; place < content.length; place++) {
    const character = content[place];
    if (quoted) {
      if (character !== '"') field += character;
      else if (content[place + 1] === '"') {
        field += '"';
        place++;
      } else quoted = false;
    } else if (character === '"' && field === '') quoted = true;
    else if (character === separator) {
      row.push(field);
      field = '';
    } else if (character === '\n' || character === '\r') {
      if (character === '\r' && content[place + 1] === '\n') place++;
      endRow();
    } else field += character;
  }
  endRow();
  return rows;
}

/** The separator that stands most often in the first line, outside of quotes; a comma where none does. */
export function separatorOf(content) {
  const counts = new Map(SEPARATORS.map((separator) => [separator, 0]));
  let quoted = false;
  for (const character of content) {
    if (character === '"') quoted = !quoted;
    else if (!quoted && (character === '\n' || character === '\r')) break;
    else if (!quoted && counts.has(character)) counts.set(character, counts.get(character) + 1);
  }
  return SEPARATORS.reduce((best, one) => (counts.get(one) > counts.get(best) ? one : best));
}

/** Which column has the texts, and whether the first row names the columns: `text` or `tekst` says so. */
export function textColumn(rows) {
  const names = (rows[0] ?? []).map((name) => name.trim().toLowerCase());
  const column = names.findIndex((name) => TEXT_COLUMNS.includes(name));
  return {column: Math.max(column, 0), heading: column >= 0};
}

/** The rows as a file: CRLF, fields quoted where they need it, and a mark by which spreadsheets know UTF-8. */
export function format(rows) {
  const field = (value) => {
    const text = String(value ?? '');
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return `\ufeff${rows.map((row) => `${row.map(field).join(',')}\r\n`).join('')}`;
}
