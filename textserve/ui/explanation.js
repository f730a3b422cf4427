// The words of a text, coloured by their influence on its label: by how much the label's log-odds fall without each.
// The score itself hardly moves where it is close to 1, as in most reviews.

import {button, element} from './dom.js';

// Below these nothing is coloured: differences so small say nothing about a word.
const LEAST_SCALE = 0.2;
const LEAST_SHARE = 0.05;
const STRONGEST = 5;
// Statuses that say that the same text will never be explained.
const REJECTED = [400, 413];

/** The explanation of a row, filled in when `explain(row)` has answered: `{answer, took}`. */
export function explanationOf(row, explain) {
  const view = element('div', 'explanation');
  view.setAttribute('aria-live', 'polite');
  const fill = async () => {
    view.replaceChildren(element('p', 'quiet', 'Looking at each word…'));
    try {
      const {answer, took} = await explain(row);
      view.replaceChildren(...explanation(row.text, answer, took));
    } catch (error) {
      const problem = element('p', 'problem', `The words are not explained. ${error.message} `);
      if (!REJECTED.includes(error.status)) problem.append(button('plain', 'Try again', fill));
      view.replaceChildren(problem);
    }
  };
  fill();
  return view;
}

/** The text with its words coloured, and the strongest of them as a list with numbers. */
function explanation(text, answer, took) {
  const characters = [...text]; // the service counts code points, as this does, and JavaScript's strings do not
  const scale = answer.words.reduce((most, word) => Math.max(most, Math.abs(word.log_odds)), LEAST_SCALE);
  const shown = element('p', 'words');
  let position = 0;
  for (const word of answer.words) {
    shown.append(characters.slice(position, word.start).join(''), coloured(word, scale));
    position = word.end;
  }
  shown.append(characters.slice(position).join(''));
  const strongest = answer.words
    .filter((word) => Math.abs(word.log_odds) >= scale * LEAST_SHARE)
    .sort((one, other) => Math.abs(other.log_odds) - Math.abs(one.log_odds))
    .slice(0, STRONGEST);
  const list = element('ul', 'strongest', ...strongest.map((word) => {
    const item = element('li', direction(word), word.text, ' ', element('span', 'number', factor(word)));
    item.title = meaning(word, answer.label);
    return item;
  }));
  const note = strongest.length
    ? `How many times lower (×) or higher (÷) the odds of “${answer.label}” are when the word is left out. Computed in ${took}.`
    : `No single word decides it. Computed in ${took}.`;
  return strongest.length ? [shown, list, element('p', 'quiet', note)] : [shown, element('p', 'quiet', note)];
}

function coloured(word, scale) {
  const share = Math.abs(word.log_odds) / scale;
  if (share < LEAST_SHARE) return word.text;
  const mark = element('mark', direction(word), word.text);
  mark.style.setProperty('--strength', share.toFixed(3));
  mark.title = factor(word);
  return mark;
}

function direction(word) {
  return word.log_odds > 0 ? 'for' : 'against';
}

function meaning(word, label) {
  const points = Math.abs(word.influence * 100).toFixed(1);
  return `Without it, ${label} ${word.influence > 0 ? 'falls' : 'rises'} by ${points} percentage points`;
}

/** The change of the odds, such as ×2.60: the word makes the label 2.6 times as likely against the others. */
function factor(word) {
  return `${word.log_odds > 0 ? '×' : '÷'}${Math.exp(Math.abs(word.log_odds)).toFixed(2)}`;
}
