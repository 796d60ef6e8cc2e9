// Train a classification head on features of a frozen base model, as the Trainer does: AdamW, a learning rate that falls in
// a straight line to zero, clipped gradients, dropout. The weights are 32-bit numbers, sums are computed in 64 bits.
(() => {
  "use strict";
  const { exp, ln, tanh, normalShare, random, fillNormal, shuffled, readHalves } = globalThis.labNumbers;
  const STREAMS = { weights: 1, order: 2, dropout: 3 };

  /** @type {Record<string, [(x: number) => number, (x: number, y: number) => number]>} each activation and its slope */
  const ACTIVATIONS = {
    none: [(x) => x, () => 1],
    relu: [(x) => Math.max(x, 0), (x) => (x > 0 ? 1 : 0)],
    tanh: [tanh, (_, y) => 1 - y * y],
    gelu: [(x) => x * normalShare(x), (x) => normalShare(x) + x * 0.3989422804014327 * exp((-x * x) / 2)],
  };

  /** @param {LabData} data @returns {LabMaterial} */
  function unpack({ head, splits, optimiser }) {
    /** @param {LabSplit} split */
    const rowsOf = (split) => ({ x: readHalves(split.features), labels: split.labels, n: split.labels.length });
    return { head, optimiser, train: rowsOf(splits.train), validation: rowsOf(splits.validation), test: rowsOf(splits.test) };
  }

  /** @param {LabLayer} layer @param {() => number} draw @returns {LabWeights} */
  function newLayer(layer, draw) {
    const n = layer.n_in * layer.n_out;
    const zeros = (/** @type {number} */ size) => new Float32Array(size);
    const bias = layer.bias ? layer.n_out : 0;
    return {
      ...layer, w: fillNormal(zeros(n), layer.initial_std, draw), b: zeros(bias), gw: zeros(n), gb: zeros(bias),
      moments: [zeros(n), zeros(n), zeros(bias), zeros(bias)], input: zeros(layer.n_in), before: zeros(layer.n_out), after: zeros(layer.n_out), back: zeros(layer.n_out),
    }; // prettier-ignore
  }

  /**
   * Compute a row's outputs into `layer.after` of each layer. Without `draw` nothing is dropped.
   * @param {LabWeights[]} layers
   * @param {Float32Array} x
   * @param {number} from where the row begins in `x`
   * @param {(() => number) | null} draw
   */
  function forward(layers, x, from, draw) {
    layers.forEach((layer, k) => {
      const { w, b, input, before, after, n_in, n_out, dropout } = layer;
      const source = k ? layers[k - 1].after : x;
      const start = k ? 0 : from;
      const scale = 1 / (1 - dropout);
      for (let i = 0; i < n_in; i += 1) input[i] = draw && dropout && draw() < dropout ? 0 : source[start + i] * (draw ? scale : 1);
      const even = n_in - (n_in % 4);
      const activate = ACTIVATIONS[layer.activation ?? "none"][0];
      for (let j = 0; j < n_out; j += 1) {
        const at = j * n_in;
        let [s0, s1, s2, s3] = [0, 0, 0, 0];
        for (let i = 0; i < even; i += 4) {
          s0 += w[at + i] * input[i];
          s1 += w[at + i + 1] * input[i + 1];
          s2 += w[at + i + 2] * input[i + 2];
          s3 += w[at + i + 3] * input[i + 3];
        }
        for (let i = even; i < n_in; i += 1) s0 += w[at + i] * input[i];
        before[j] = s0 + s1 + (s2 + s3) + (b.length ? b[j] : 0);
        after[j] = activate(before[j]);
      }
    });
    return layers[layers.length - 1].after;
  }

  /** @param {Float32Array} logits @param {number} label @returns {[number, number, number]} loss, sum and largest logit */
  function crossEntropy(logits, label) {
    let most = -Infinity;
    for (let j = 0; j < logits.length; j += 1) if (logits[j] > most) most = logits[j];
    let sum = 0;
    for (let j = 0; j < logits.length; j += 1) sum += exp(logits[j] - most);
    return [ln(sum) + most - logits[label], sum, most];
  }

  /**
   * Add a row's gradients of the loss, divided by the rows of the batch; return its loss.
   * @param {LabWeights[]} layers
   * @param {number} label
   * @param {number} n rows of the batch
   * @param {boolean} drops whether inputs were dropped
   */
  function backward(layers, label, n, drops) {
    const last = layers[layers.length - 1];
    const [loss, sum, most] = crossEntropy(last.after, label);
    for (let j = 0; j < last.n_out; j += 1) last.back[j] = (exp(last.after[j] - most) / sum - (j === label ? 1 : 0)) / n;
    for (let k = layers.length - 1; k >= 0; k -= 1) {
      const { w, gw, gb, input, before, after, back, n_in, n_out, dropout } = layers[k];
      const slope = ACTIVATIONS[layers[k].activation ?? "none"][1];
      const below = k ? layers[k - 1].back : null;
      if (below) below.fill(0);
      for (let j = 0; j < n_out; j += 1) {
        const d = back[j] * slope(before[j], after[j]);
        if (d === 0) continue;
        const at = j * n_in;
        for (let i = 0; i < n_in; i += 1) gw[at + i] += d * input[i];
        if (gb.length) gb[j] += d;
        if (below) for (let i = 0; i < n_in; i += 1) below[i] += d * w[at + i];
      }
      if (below && drops && dropout) {
        // An input that was dropped is zero; one that is zero anyway has no slope that matters below a ReLU or a linear layer.
        const scale = 1 / (1 - dropout);
        for (let i = 0; i < n_in; i += 1) below[i] = input[i] === 0 ? 0 : below[i] * scale;
      }
    }
    return loss;
  }

  /**
   * @param {LabWeights[]} layers
   * @param {LabRows} rows
   * @returns {LabScore} with the probability that each row's right label gets
   */
  function evaluate(layers, { x, labels, n }) {
    const probabilities = new Float32Array(n);
    let [loss, right] = [0, 0];
    for (let r = 0; r < n; r += 1) {
      const logits = forward(layers, x, r * layers[0].n_in, null);
      const own = crossEntropy(logits, labels[r])[0];
      loss += own;
      probabilities[r] = exp(-own);
      let best = 0;
      for (let j = 1; j < logits.length; j += 1) if (logits[j] > logits[best]) best = j;
      if (best === labels[r]) right += 1;
    }
    return { loss: loss / n, accuracy: right / n, probabilities };
  }

  /**
   * Move the weights by one step of AdamW.
   * @param {LabWeights[]} layers
   * @param {LabOptimiser} optimiser
   * @param {number} rate
   * @param {number} t number of the step, from 1
   */
  function step(layers, { beta1, beta2, epsilon, weight_decay, max_grad_norm }, rate, t) {
    let norm = 0;
    for (const { gw, gb } of layers) {
      for (let i = 0; i < gw.length; i += 1) norm += gw[i] * gw[i];
      for (let i = 0; i < gb.length; i += 1) norm += gb[i] * gb[i];
    }
    const clip = max_grad_norm ? Math.min(1, max_grad_norm / (Math.sqrt(norm) + 1e-6)) : 1;
    let [c1, c2] = [1, 1];
    for (let i = 0; i < t; i += 1) [c1, c2] = [c1 * beta1, c2 * beta2];
    const size = rate / (1 - c1);
    const root = Math.sqrt(1 - c2);
    /** @param {Float32Array} w @param {Float32Array} g @param {Float32Array} m @param {Float32Array} v @param {number} decay */
    const move = (w, g, m, v, decay) => {
      const kept = 1 - rate * decay;
      for (let i = 0; i < w.length; i += 1) {
        const slope = g[i] * clip;
        m[i] = beta1 * m[i] + (1 - beta1) * slope;
        v[i] = beta2 * v[i] + (1 - beta2) * slope * slope;
        w[i] = w[i] * kept - (size * m[i]) / (Math.sqrt(v[i]) / root + epsilon);
        g[i] = 0;
      }
    };
    for (const { w, b, gw, gb, moments } of layers) {
      move(w, gw, moments[0], moments[1], weight_decay);
      move(b, gb, moments[2], moments[3], 0); // the Trainer does not decay biases
    }
  }

  /**
   * Train, and yield after every step what there is to draw. The last value says how the kept weights do on the test rows.
   * @param {LabMaterial} material
   * @param {LabChoice} choice
   * @returns {Generator<LabStep, LabOutcome>}
   */
  function* train(material, choice) {
    const draws = { weights: random(choice.seed, STREAMS.weights), order: random(choice.seed, STREAMS.order), dropout: random(choice.seed, STREAMS.dropout) };
    const layers = material.head.map((layer) => newLayer(layer, draws.weights));
    const rows = material.train;
    const perEpoch = Math.ceil(rows.n / choice.batch);
    const total = perEpoch * choice.epochs;
    const drop = choice.dropout === false ? null : draws.dropout;
    const copy = () => layers.map(({ w, b }) => [w.slice(), b.slice()]);
    const first = copy();
    /** @type {{step: number, score: LabScore, weights: Float32Array[][]} | null} */
    let best = null;
    let n_evaluations = 0;
    const unseen = choice.strategy === "no";
    const before = { train: evaluate(layers, rows), validation: unseen ? null : evaluate(layers, material.validation) };
    yield { step: 0, total, epoch: 0, loss: null, rate: choice.rate, train_loss: null, ...before, order: [] };
    for (let epoch = 0, t = 0; epoch < choice.epochs; epoch += 1) {
      const order = shuffled(rows.n, draws.order);
      let sum = 0;
      for (let at = 0; at < rows.n; at += choice.batch) {
        const batch = order.slice(at, at + choice.batch);
        let loss = 0;
        for (const r of batch) {
          forward(layers, rows.x, r * layers[0].n_in, drop);
          loss += backward(layers, rows.labels[r], batch.length, drop !== null);
        }
        loss /= batch.length;
        const rate = (choice.rate * (total - t)) / total;
        t += 1;
        step(layers, material.optimiser, rate, t);
        sum += loss;
        const ends = at + choice.batch >= rows.n;
        const due = choice.strategy === "epoch" ? ends : choice.strategy === "steps" && t % choice.every === 0;
        const validation = due ? evaluate(layers, material.validation) : null;
        if (validation) {
          n_evaluations += 1;
          if (!best || validation.loss < best.score.loss) best = { step: t, score: validation, weights: copy() };
        }
        const train = ends ? evaluate(layers, rows) : null;
        yield { step: t, total, epoch: t / perEpoch, loss, rate, train_loss: ends ? sum / perEpoch : null, train, validation, order: batch };
      }
    }
    let [moved, n] = [0, 0];
    layers.forEach(({ w, b }, k) => {
      for (let i = 0; i < w.length; i += 1) moved += Math.abs(w[i] - first[k][0][i]);
      for (let i = 0; i < b.length; i += 1) moved += Math.abs(b[i] - first[k][1][i]);
      n += w.length + b.length;
    });
    const last = evaluate(layers, material.test);
    let kept = last;
    if (best && best.step < total) {
      const { weights } = best;
      layers.forEach((layer, k) => { layer.w.set(weights[k][0]); layer.b.set(weights[k][1]); }); // prettier-ignore
      kept = evaluate(layers, material.test);
    }
    return { kept_step: best ? best.step : total, per_epoch: perEpoch, n_evaluations, kept, last, moved: moved / n, first };
  }

  globalThis.labTraining = { unpack, train };
})();
