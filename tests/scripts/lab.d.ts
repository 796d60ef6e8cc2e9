// The types of the training lab: what its page hands to the scripts, and what these hand to each other.

interface LabLayer { n_in: number; n_out: number; bias: boolean; dropout: number; activation: string | null; initial_std: number }
interface LabSplit { features: string; labels: number[] }
interface LabOptimiser { beta1: number; beta2: number; epsilon: number; weight_decay: number; max_grad_norm: number }
interface LabData {
  head: LabLayer[];
  optimiser: LabOptimiser;
  splits: { train: LabSplit; validation: LabSplit; test: LabSplit };
}
interface LabRows { x: Float32Array; labels: number[]; n: number }
interface LabMaterial { head: LabLayer[]; optimiser: LabOptimiser; train: LabRows; validation: LabRows; test: LabRows }
interface LabWeights extends LabLayer {
  w: Float32Array; b: Float32Array; gw: Float32Array; gb: Float32Array; moments: Float32Array[];
  input: Float32Array; before: Float32Array; after: Float32Array; back: Float32Array;
}
interface LabScore { loss: number; accuracy: number; probabilities: Float32Array }
type LabStrategy = "no" | "epoch" | "steps";
interface LabChoice {
  rate: number; batch: number; strategy: LabStrategy; every: number; epochs: number; seed: number; dropout?: boolean;
}
interface LabStep {
  step: number; total: number; epoch: number; loss: number | null; rate: number; train_loss: number | null;
  train: LabScore | null; validation: LabScore | null; order: number[];
}
interface LabOutcome {
  kept_step: number; per_epoch: number; n_evaluations: number; kept: LabScore; last: LabScore; moved: number;
  first: Float32Array[][];
}

// What a run has shown so far, kept to be drawn again and compared.
interface LabRun { choice: LabChoice; steps: LabStep[]; outcome: LabOutcome | null }

interface LabPreset { id: string; choice: Partial<LabChoice> }
interface LabSettings {
  language: string;
  submitted: LabChoice;
  rates: number[];
  batches: number[];
  epochs: number[];
  seeds: number[];
  presets: LabPreset[];
  embedded: Record<string, Partial<LabChoice>>;
  n_labels: number;
  chance: { loss: number; accuracy: number };
  fall: number;
  rise: number;
  size: string;
  data: string;
  page: string;
  words: Record<string, string>;
}

interface LabChart {
  element: HTMLElement;
  draw(runs: LabRun[], at: number | null): void;
}

declare var labNumbers: {
  exp(x: number): number;
  ln(x: number): number;
  tanh(x: number): number;
  normalShare(x: number): number;
  random(seed: number, stream: number): () => number;
  fillNormal(array: Float32Array, deviation: number, draw: () => number): Float32Array;
  shuffled(n: number, draw: () => number): number[];
  readHalves(text: string): Float32Array;
};
declare var labTraining: {
  unpack(data: LabData): LabMaterial;
  train(material: LabMaterial, choice: LabChoice): Generator<LabStep, LabOutcome>;
};

interface LabTools { load(path: string): Promise<void>; settings: LabSettings }
declare var labCharts: {
  curves(
    title: string,
    look: { x: string; level: number; percent?: boolean; legend: [string, string][] },
    linesOf: (run: LabRun) => { kind: string; points: [number, number][]; dots?: boolean }[],
  ): LabChart;
  strip(title: string, look: { low: string; high: string; level: number }): {
    element: HTMLElement;
    draw(probabilities: Float32Array | null, text: string): void;
  };
  make(tag: string, properties?: Record<string, unknown>, ...children: (Node | string)[]): HTMLElement;
};
declare var labData: LabData;
declare var labSettings: LabSettings;
declare var openLab: (box: HTMLElement, tools: LabTools) => void;
