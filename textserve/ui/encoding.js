// Decodes the bytes of a file of any size to characters, one part at a time.

/** The encodings that a user can choose: the browser's name, and the name for the user. */
export const ENCODINGS = [
  ['utf-8', 'UTF-8'],
  ['utf-16le', 'UTF-16 LE (Excel’s “Unicode Text”)'],
  ['utf-16be', 'UTF-16 BE'],
  ['windows-1250', 'Windows-1250 (Central Europe)'],
  ['iso-8859-2', 'ISO-8859-2 (Central Europe)'],
  ['windows-1252', 'Windows-1252 (Western Europe)'],
  ['windows-1251', 'Windows-1251 (Cyrillic)'],
  ['windows-1253', 'Windows-1253 (Greece)'],
  ['windows-1254', 'Windows-1254 (Türkiye)'],
  ['gb18030', 'GB 18030 (China)'],
  ['shift_jis', 'Shift JIS (Japan)'],
  ['euc-kr', 'EUC-KR (Korea)'],
];

const BYTE_ORDER_MARKS = [
  ['utf-8', [0xef, 0xbb, 0xbf]],
  ['utf-16le', [0xff, 0xfe]],
  ['utf-16be', [0xfe, 0xff]],
];
const FORMATS = [
  [[0x50, 0x4b, 0x03, 0x04], 'an Excel workbook or a ZIP archive'],
  [[0xd0, 0xcf, 0x11, 0xe0], 'an Excel workbook or another Office document'],
  [[0x25, 0x50, 0x44, 0x46], 'a PDF'],
  [[0x1f, 0x8b], 'compressed (gzip)'],
];
const BEGINNING = 65_536;
// Windows-1250 and ISO-8859-2 encode the letters ą ś ź Ą Ś Ź differently; the first array has them in ISO-8859-2.
const ISO_LETTERS = [0xb1, 0xb6, 0xbc, 0xa1, 0xa6, 0xac];
const WINDOWS_LETTERS = [0xb9, 0xa5];

/** A file that cannot be read: the message says what to do. */
export class FileError extends Error {}

/**
 * The encoding of a file: `{encoding, warning}`. Reads the whole file, since the first telling letter may be late.
 *
 * A byte order mark decides, then NUL bytes (UTF-16), then whether the bytes are UTF-8; else it is a guess, and
 * `warning` says so. Throws a FileError for a file that is no text.
 */
export async function detect(file, options) {
  const beginning = new Uint8Array(await readable(file, file.slice(0, BEGINNING).arrayBuffer()));
  const format = FORMATS.find(([bytes]) => startsWith(beginning, bytes));
  if (format) {
    throw new FileError(`${file.name} is ${format[1]}, not CSV. In Excel, save it as “CSV UTF-8” and open that file.`);
  }
  const marked = BYTE_ORDER_MARKS.find(([, bytes]) => startsWith(beginning, bytes));
  if (marked) return {encoding: marked[0], warning: ''};
  const wide = utf16(beginning);
  if (wide) return wide;
  if (beginning.includes(0)) throw new FileError(`${file.name} is not a text file. Open a CSV or a plain text file.`);

  if (await isUtf8(file, options)) return {encoding: 'utf-8', warning: ''};
  const {broken, whole, seen} = await statistics(file, options);
  // Another encoding read as UTF-8 would break nearly all letters beyond ASCII.
  if (whole > 10 * broken) {
    return {encoding: 'utf-8', warning: 'Most of the file is UTF-8, but some bytes are not: they are read as �.'};
  }
  return {
    encoding: guessCentralEuropean(seen),
    warning: 'The file is not UTF-8. The encoding is a guess: check the letters in the preview.',
  };
}

/** The characters of a file, in parts. `progress(share)` is called after each; `signal` ends it with an AbortError. */
export async function* decode(file, encoding, options) {
  const decoder = new TextDecoder(encoding);
  for await (const bytes of read(file, options)) yield decoder.decode(bytes, {stream: true});
  yield decoder.decode();
}

/** The first characters of a file, from its first `bytes` bytes, and whether they are the whole file. */
export async function decodeBeginning(file, encoding, bytes) {
  const content = await readable(file, file.slice(0, bytes).arrayBuffer());
  const complete = file.size <= bytes;
  return {content: new TextDecoder(encoding).decode(content, {stream: !complete}), complete};
}

async function* read(file, {signal, progress} = {}) {
  const reader = file.stream().getReader();
  let position = 0;
  try {
    for (;;) {
      signal?.throwIfAborted();
      const {done, value} = await readable(file, reader.read());
      if (done) return;
      position += value.length;
      progress?.(position / file.size);
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {}); // it may have failed already
  }
}

async function readable(file, reading) {
  try {
    return await reading;
  } catch {
    throw new FileError(`${file.name} cannot be read. It may have been changed, moved or deleted; open it again.`);
  }
}

function startsWith(bytes, beginning) {
  return beginning.every((byte, index) => bytes[index] === byte);
}

/**
 * The encoding of UTF-16 without a byte order mark, as of `detect`, or nothing. Letters of Latin scripts have a NUL byte,
 * those of other scripts do not, but spaces, digits and line breaks do, always on the same side.
 */
function utf16(bytes) {
  const zeros = [0, 0];
  for (let index = 0; index < bytes.length; index++) if (bytes[index] === 0) zeros[index % 2]++;
  const [least, most] = [Math.min(...zeros), Math.max(...zeros)];
  const encoding = zeros[1] > zeros[0] ? 'utf-16le' : 'utf-16be';
  const units = bytes.length / 2;
  if (most > 0.3 * units && least < 0.05 * units) return {encoding, warning: ''};
  if (most > 0.01 * units && least === 0 && isText(bytes, encoding)) {
    return {encoding, warning: 'The file seems to be UTF-16. That is a guess: check the letters in the preview.'};
  }
}

/** Whether `bytes`, the beginning of a file, are characters of the encoding, without control characters. */
function isText(bytes, encoding) {
  try {
    const content = new TextDecoder(encoding, {fatal: true}).decode(bytes, {stream: true});
    return !/[^\P{Cc}\t\n\r]|\p{Co}|\p{Cn}/u.test(content);
  } catch {
    return false;
  }
}

async function isUtf8(file, options) {
  const decoder = new TextDecoder('utf-8', {fatal: true});
  try {
    for await (const bytes of read(file, options)) decoder.decode(bytes, {stream: true});
    decoder.decode();
    return true;
  } catch (error) {
    if (error instanceof TypeError) return false;
    throw error;
  }
}

/** How many letters beyond ASCII are `broken` and `whole` if read as UTF-8, and how often each byte is `seen`. */
async function statistics(file, options) {
  const decoder = new TextDecoder('utf-8');
  const seen = new Uint32Array(256);
  let broken = 0;
  let whole = 0;
  for await (const bytes of read(file, options)) {
    for (const byte of bytes) seen[byte]++;
    for (const character of decoder.decode(bytes, {stream: true})) {
      if (character === '\ufffd') broken++;
      else if (character > '\x7f') whole++;
    }
  }
  return {broken, whole, seen};
}

function guessCentralEuropean(seen) {
  const count = (letters) => letters.reduce((sum, byte) => sum + seen[byte], 0);
  let controls = 0; // of ISO-8859-2, where Windows-1250 has letters and quotation marks
  for (let byte = 0x80; byte < 0xa0; byte++) controls += seen[byte];
  return !controls && count(ISO_LETTERS) > count(WINDOWS_LETTERS) ? 'iso-8859-2' : 'windows-1250';
}
