// The texts that the user writes on the page: one text, or one on each line; the texts of a pair are in two fields.

import {number} from './dom.js';

/**
 * The source of a job. `fields` has the content of each field; with `lines`, each line is a text of its own. A single
 * line pairs with every line of the other field. Throws an Error if the lines do not pair up.
 */
export function written(fields, lines) {
  const texts = fields.map((field) => (lines ? field.split(/\r?\n/) : [field]).map((text) => text.toWellFormed?.() ?? text));
  for (const one of texts) while (one.length > 1 && !one.at(-1).trim()) one.pop(); // empty lines at the end
  const length = Math.max(...texts.map((one) => one.length));
  const [first, second] = texts;
  if (texts.some((one) => one.length !== length && one.length !== 1)) {
    throw new Error(
      `The first field has ${number(first.length)} lines and the second ${number(second.length)}: write as many lines in both, or a single line in one of them.`,
    );
  }
  const rows = Array.from({length}, (_, index) => {
    const cells = texts.map((one) => one[one.length === 1 ? 0 : index]);
    return {number: index + 1, cells, text: cells[0], text_pair: cells[1]};
  });
  const whole = rows.filter(({cells}) => cells.every((text) => text.trim()));
  return {
    name: 'texts.csv',
    columns: ['text', 'text_pair'].slice(0, fields.length),
    separator: ',',
    total: whole.length,
    skipped: rows.length - whole.length,
    async *parts() {
      yield whole;
    },
  };
}
