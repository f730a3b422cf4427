// What the page knows of the model: the shape of its answers, and the names, colours and thresholds of its labels.

import {number, percent} from './dom.js';

const TONES = 8;
const LABELS_NAMED = 12;
const PLAIN = new Intl.NumberFormat('en', {minimumSignificantDigits: 3, maximumSignificantDigits: 3});

export class Model {
  #tones;
  #thresholds;

  /** `description` is the service's `ui/model.json`. */
  constructor({model, description, problem_type, activation, input, labels, examples, ...limits}) {
    this.name = model;
    this.description = description;
    /** Names of the labels in the order of the model's outputs; for regression, the name of the number. */
    this.labels = labels.map(({label}) => label);
    /** Whether any number of labels may apply to a text, and whether the answer is a number. */
    this.several = problem_type === 'multi_label_classification';
    this.number = problem_type === 'regression';
    /** Whether a score is a probability, and whether a score is always from 0 to 1. */
    this.probabilities = !this.number && activation !== 'none';
    this.bounded = activation !== 'none';
    this.pair = input === 'pair';
    /** What it classifies, in words. */
    this.noun = this.pair ? 'pair' : 'text';
    /** Golden texts of the model, `{text, text_pair}`. */
    this.examples = examples ?? [];
    this.limits = limits;
    this.#tones = new Map(labels.map(({label, tone}, index) => [label, tone ?? String(index % TONES)]));
    this.#thresholds = new Map(labels.map(({label, threshold}) => [label, threshold]));
  }

  /** The value of `data-tone` for a label; style.css has the colours. */
  tone(label) {
    return this.#tones.get(label) ?? '0';
  }

  /** The lowest score at which a label applies, or null if only one label can. */
  threshold(label) {
    return this.#thresholds.get(label) ?? null;
  }

  /** A score in words: `12.3%`, or the number itself. */
  format(score) {
    return this.probabilities ? percent(score) : plain(score);
  }

  /** The labels of a result that apply to the text, the best first: `[label, score]`. */
  applied({label, labels, score, scores}) {
    if (this.number) return [];
    return this.several ? labels.map((one) => [String(one), scores[one]]) : [[String(label), score]];
  }

  /** The number of a result, or its highest score. */
  score({score, scores}) {
    return this.several ? Math.max(...Object.values(scores)) : score;
  }

  /** Labels and scores of a result, the highest first. */
  ranked({score, scores}) {
    if (this.number) return [[this.labels[0], score]];
    return Object.entries(scores).sort(([, one], [, other]) => other - one);
  }

  /** The result in a sentence. */
  spoken(result) {
    if (this.number) return `The score is ${plain(result.score)}.`;
    const names = this.applied(result).map(([label]) => label);
    if (!this.several) return `The ${this.noun} is ${names[0]}.`;
    return names.length ? `The labels are ${names.join(', ')}.` : 'No label applies.';
  }

  /** What the answers are, in a sentence. */
  get answers() {
    const what = this.pair ? 'pair of texts' : 'text';
    if (this.number) return `Gives each ${what} a number${this.bounded ? ' from 0 to 1' : ''}.`;
    const more = this.labels.length - LABELS_NAMED;
    const names = `${this.labels.slice(0, LABELS_NAMED).join(', ')}${more > 0 ? `, and ${number(more)} more` : ''}`;
    return this.several ? `Any of the labels: ${names}.` : `Labels: ${names}.`;
  }
}

/** 0.12345 → `0.123`, 4.2 → `4.20`, −1234.5 → `−1,235` */
export function plain(value) {
  const rounded = Math.abs(value) < 1000 ? PLAIN.format(value) : number(Math.round(value));
  return rounded.replace('-', '−');
}
