// Colours of labels. Labels of sentiment have the colours that people expect, others follow their rank in the model.

const TONES = 8;
const SENTIMENTS = {
  negative: ['negative', 'very negative', 'neg', 'negatywny', 'negatywna', 'negatywne'],
  neutral: ['neutral', 'neu', 'neutralny', 'neutralna', 'neutralne'],
  positive: ['positive', 'very positive', 'pos', 'pozytywny', 'pozytywna', 'pozytywne'],
};

/** The value of `data-tone` for a label; `labels` are those of the model. style.css has the colours. */
export function tone(label, labels) {
  const name = String(label).trim().toLowerCase().replace(/[_-]/g, ' ');
  const sentiment = Object.keys(SENTIMENTS).find((key) => SENTIMENTS[key].includes(name));
  return sentiment ?? String(Math.max(0, labels.indexOf(String(label))) % TONES);
}
