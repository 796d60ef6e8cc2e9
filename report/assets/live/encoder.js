// Compute an encoder with an adapter beside it, as runs/live/arithmetic.py does: weights in 8 bits, one text at a time.
// It touches no page: tests compare its answers with Python's.
(() => {
  "use strict";

  /** Read a file of safetensors: the length of a JSON head, the head, the numbers. @param {Uint8Array} bytes @returns {LiveTensors} */
  function readTensors(bytes) {
    const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
    const head = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
    /** @type {LiveTensors} */
    const found = {};
    for (const [name, about] of Object.entries(head)) {
      if (name === "__metadata__") continue;
      const [from, to] = about.data_offsets;
      const own = bytes.slice(8 + length + from, 8 + length + to).buffer; // a copy begins where its numbers may begin
      found[name] = { shape: about.shape, data: about.dtype === "I8" ? new Int8Array(own) : new Float32Array(own) };
    }
    return found;
  }

  /** A weight as numbers. @param {LiveTensors} tensors @param {string} name */
  function numbersOf(tensors, name) {
    const { shape, data } = tensors[name];
    if (data instanceof Float32Array) return data;
    const scales = tensors[`${name}.scale`].data;
    const width = shape[1];
    const numbers = new Float32Array(data.length);
    for (let row = 0, i = 0; row < shape[0]; row += 1) {
      const scale = scales[row];
      for (const end = i + width; i < end; i += 1) numbers[i] = data[i] * scale;
    }
    return numbers;
  }

  /** @param {LiveTensors} tensors @param {string} name @returns {LiveLayer} */
  function layerOf(tensors, name) {
    const [out, inn] = tensors[`${name}.weight`].shape;
    return { out, inn, weight: numbersOf(tensors, `${name}.weight`), bias: numbersOf(tensors, `${name}.bias`) };
  }

  /** @param {Float32Array} matrix @param {number} rows @param {number} columns */
  function transposed(matrix, rows, columns) {
    const turned = new Float32Array(matrix.length);
    for (let i = 0; i < rows; i += 1) for (let j = 0; j < columns; j += 1) turned[j * rows + i] = matrix[i * columns + j];
    return turned;
  }

  // Rows of states come in fours, the last ones zero: four rows of states by four of weights are read once for 16 products.
  /** @param {number} n */
  const padded = (n) => (n + 3) & ~3;

  /** Multiply states by a layer's weights. @param {Float32Array} x @param {number} n @param {LiveLayer} layer */
  function multiply(x, n, { out, inn, weight, bias }) {
    const rows = padded(n);
    const y = new Float32Array(rows * out);
    const whole = out & ~3;
    for (let o = 0; o < whole; o += 4) {
      const w0 = o * inn, w1 = w0 + inn, w2 = w1 + inn, w3 = w2 + inn; // prettier-ignore
      const b0 = bias ? bias[o] : 0, b1 = bias ? bias[o + 1] : 0, b2 = bias ? bias[o + 2] : 0, b3 = bias ? bias[o + 3] : 0; // prettier-ignore
      for (let t = 0; t < rows; t += 4) {
        const x0 = t * inn, x1 = x0 + inn, x2 = x1 + inn, x3 = x2 + inn; // prettier-ignore
        let s00 = b0, s01 = b1, s02 = b2, s03 = b3, s10 = b0, s11 = b1, s12 = b2, s13 = b3; // prettier-ignore
        let s20 = b0, s21 = b1, s22 = b2, s23 = b3, s30 = b0, s31 = b1, s32 = b2, s33 = b3; // prettier-ignore
        for (let i = 0; i < inn; i += 1) {
          const u0 = weight[w0 + i], u1 = weight[w1 + i], u2 = weight[w2 + i], u3 = weight[w3 + i]; // prettier-ignore
          let v = x[x0 + i];
          s00 += v * u0; s01 += v * u1; s02 += v * u2; s03 += v * u3; // prettier-ignore
          v = x[x1 + i];
          s10 += v * u0; s11 += v * u1; s12 += v * u2; s13 += v * u3; // prettier-ignore
          v = x[x2 + i];
          s20 += v * u0; s21 += v * u1; s22 += v * u2; s23 += v * u3; // prettier-ignore
          v = x[x3 + i];
          s30 += v * u0; s31 += v * u1; s32 += v * u2; s33 += v * u3; // prettier-ignore
        }
        let at = t * out + o;
        y[at] = s00; y[at + 1] = s01; y[at + 2] = s02; y[at + 3] = s03; // prettier-ignore
        at += out;
        y[at] = s10; y[at + 1] = s11; y[at + 2] = s12; y[at + 3] = s13; // prettier-ignore
        at += out;
        y[at] = s20; y[at + 1] = s21; y[at + 2] = s22; y[at + 3] = s23; // prettier-ignore
        at += out;
        y[at] = s30; y[at + 1] = s31; y[at + 2] = s32; y[at + 3] = s33; // prettier-ignore
      }
    }
    for (let o = whole; o < out; o += 1) {
      for (let t = 0; t < rows; t += 1) {
        let sum = bias ? bias[o] : 0;
        for (let i = 0; i < inn; i += 1) sum += x[t * inn + i] * weight[o * inn + i];
        y[t * out + o] = sum;
      }
    }
    return y;
  }

  /** Normalise each row, in place. @param {Float32Array} x @param {number} n @param {number} width @param {Float32Array} weight @param {Float32Array} bias @param {number} eps */
  function normalise(x, n, width, weight, bias, eps) {
    for (let t = 0; t < n; t += 1) {
      const at = t * width;
      let mean = 0;
      for (let i = 0; i < width; i += 1) mean += x[at + i];
      mean /= width;
      let spread = 0;
      for (let i = 0; i < width; i += 1) spread += (x[at + i] - mean) ** 2;
      const factor = 1 / Math.sqrt(spread / width + eps);
      for (let i = 0; i < width; i += 1) x[at + i] = (x[at + i] - mean) * factor * weight[i] + bias[i];
    }
    return x;
  }

  // The error function to 1.5e-7: Abramowitz and Stegun 1964, 7.1.26.
  /** @param {number} x */
  function erf(x) {
    const size = Math.abs(x);
    const t = 1 / (1 + 0.3275911 * size);
    const tail = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t * Math.exp(-size * size);
    return x < 0 ? tail - 1 : 1 - tail;
  }

  /** Replace scores by their softmax, in place. @param {Float64Array} scores @param {number} n */
  function softmax(scores, n) {
    let top = -Infinity;
    for (let i = 0; i < n; i += 1) if (scores[i] > top) top = scores[i];
    let sum = 0;
    for (let i = 0; i < n; i += 1) {
      scores[i] = Math.exp(scores[i] - top);
      sum += scores[i];
    }
    for (let i = 0; i < n; i += 1) scores[i] /= sum;
    return scores;
  }

  /** Add, in place. @param {Float32Array} x @param {Float32Array} y */
  function add(x, y) {
    for (let i = 0; i < x.length; i += 1) x[i] += y[i];
    return x;
  }

  const PARTS = ["q", "k", "v", "o", "up", "down"];

  /** The base model. Its rows of word embeddings are read as they are needed. @param {LiveShape} shape @param {LiveTensors} tensors */
  function makeBase(shape, tensors) {
    /** @type {Record<string, LiveLayer>} */
    const layers = {};
    for (let i = 0; i < shape.n_layers; i += 1) for (const part of PARTS) layers[`layers.${i}.${part}`] = layerOf(tensors, `layers.${i}.${part}`);
    /** @type {Record<string, Float32Array>} */
    const vectors = {};
    for (const [name, { shape: size }] of Object.entries(tensors)) if (size.length === 1) vectors[name] = numbersOf(tensors, name);
    /** @type {Map<number, LiveTensors>} */
    const words = new Map();
    return { shape, layers, vectors, positions: numbersOf(tensors, "positions"), words };
  }

  /** The files of word embeddings that some tokens need. @param {LiveBase} base @param {number[]} tokens */
  function filesOf(base, tokens) {
    return [...new Set(tokens.map((token) => Math.floor(token / base.shape.words_per_file)))];
  }

  /** An adapter and its head. @param {LiveTensors} tensors */
  function makeAdapter(tensors) {
    /** @type {Record<string, LiveBeside>} */
    const beside = {};
    /** @type {Record<string, Float32Array>} */
    const deltas = {};
    let rank = 0;
    for (const name of Object.keys(tensors)) {
      const [, layer, kind] = name.match(/^(.+)\.(a|b|scale_in|scale_out|delta)$/) ?? [];
      if (!kind || name.endsWith(".weight.scale")) continue;
      const numbers = numbersOf(tensors, name);
      if (kind === "delta") {
        deltas[layer] = numbers;
        continue;
      }
      if (!(layer in beside)) beside[layer] = { a: null, b: null, scaleIn: null, scaleOut: null };
      const own = beside[layer];
      const [rows, columns] = tensors[name].shape;
      if (kind === "a") own.a = { out: rows, inn: columns, weight: numbers, bias: null };
      else if (kind === "b") own.b = { out: columns, inn: rows, weight: transposed(numbers, rows, columns), bias: null };
      else if (kind === "scale_in") own.scaleIn = numbers;
      else own.scaleOut = numbers;
      if (kind === "a") rank = Math.max(rank, rows);
    }
    return { beside, deltas, rank, pool: layerOf(tensors, "pool"), classifier: layerOf(tensors, "classifier") };
  }

  /** Multiply rows by a vector that the scale draws towards 1, in place. @param {Float32Array} x @param {Float32Array} vector @param {number} scale */
  function stretch(x, vector, scale) {
    const width = vector.length;
    for (let i = 0; i < x.length; i += 1) x[i] *= 1 + scale * (vector[i % width] - 1);
    return x;
  }

  /** @param {LiveBase} base @param {LiveAdapter} adapter @param {LiveDials} dials @param {string} name @param {Float32Array} x @param {number} n */
  function through(base, adapter, { scale, rank }, name, x, n) {
    const own = adapter.beside[name];
    const layer = withDelta(base.layers[name], adapter, scale, name);
    if (!own || scale === 0) return multiply(x, n, layer);
    const given = own.scaleIn ? stretch(x.slice(), own.scaleIn, scale) : x;
    const y = multiply(given, n, layer);
    if (own.a && own.b) {
      const along = multiply(given, n, own.a);
      const width = own.a.out;
      for (let i = 0; i < along.length; i += 1) along[i] *= i % width < rank ? scale : 0;
      add(y, multiply(along, n, own.b));
    }
    return own.scaleOut ? stretch(y, own.scaleOut, scale) : y;
  }

  /** @param {LiveLayer} layer @param {LiveAdapter} adapter @param {number} scale @param {string} name @returns {LiveLayer} */
  function withDelta(layer, adapter, scale, name) {
    const delta = adapter.deltas[`${name}.bias`];
    return delta && layer.bias ? { ...layer, bias: layer.bias.map((value, i) => value + scale * delta[i]) } : layer;
  }

  /**
   * Compute the probability of each label, pausing after each layer; the last value is the answer.
   *
   * @param {LiveBase} base
   * @param {LiveAdapter} adapter
   * @param {number[]} tokens
   * @param {LiveDials} dials scale 0 is the base model with the adapter's head, 1 the adapter as trained
   * @returns {Generator<undefined, number[], undefined>}
   */
  function* answer(base, adapter, tokens, dials) {
    const { width, n_heads, n_layers, eps, pool, words_per_file } = base.shape;
    const n = tokens.length;
    /** @param {string} name */
    const vector = (name) => {
      const delta = adapter.deltas[name];
      return delta ? base.vectors[name].map((value, i) => value + dials.scale * delta[i]) : base.vectors[name];
    };
    /** @param {Float32Array} x @param {string} name */
    const norm = (x, name) => normalise(x, n, width, vector(`${name}.weight`), vector(`${name}.bias`), eps);
    /** @type {Float32Array} */
    let x = new Float32Array(padded(n) * width);
    tokens.forEach((token, t) => {
      const file = /** @type {LiveTensors} */ (base.words.get(Math.floor(token / words_per_file)));
      const row = token % words_per_file;
      const scale = file["words.scale"].data[row];
      for (let i = 0; i < width; i += 1) x[t * width + i] = file.words.data[row * width + i] * scale + base.positions[t * width + i];
    });
    norm(x, "norm");
    const size = width / n_heads;
    const shares = new Float64Array(n);
    for (let l = 0; l < n_layers; l += 1) {
      yield;
      const name = `layers.${l}`;
      const [q, k, v] = ["q", "k", "v"].map((part) => through(base, adapter, dials, `${name}.${part}`, x, n));
      const mixed = new Float32Array(x.length);
      for (let h = 0; h < n_heads; h += 1) {
        for (let t = 0; t < n; t += 1) {
          const at = t * width + h * size;
          for (let u = 0; u < n; u += 1) {
            let sum = 0;
            for (let i = 0, other = u * width + h * size; i < size; i += 1) sum += q[at + i] * k[other + i];
            shares[u] = sum / Math.sqrt(size);
          }
          softmax(shares, n);
          for (let u = 0; u < n; u += 1) {
            const share = shares[u];
            for (let i = 0, other = u * width + h * size; i < size; i += 1) mixed[at + i] += share * v[other + i];
          }
        }
      }
      x = norm(add(through(base, adapter, dials, `${name}.o`, mixed, n), x), `${name}.norm1`);
      yield;
      const wide = through(base, adapter, dials, `${name}.up`, x, n);
      for (let i = 0; i < wide.length; i += 1) wide[i] *= 0.5 * (1 + erf(wide[i] * Math.SQRT1_2));
      x = norm(add(through(base, adapter, dials, `${name}.down`, wide, n), x), `${name}.norm2`);
    }
    const first = new Float32Array(4 * width);
    first.set(x.subarray(0, width));
    const hidden = multiply(first, 1, adapter.pool);
    for (let i = 0; i < hidden.length; i += 1) hidden[i] = pool === "relu" ? Math.max(0, hidden[i]) : Math.tanh(hidden[i]);
    const scores = multiply(hidden, 1, adapter.classifier).subarray(0, adapter.classifier.out);
    return [...softmax(Float64Array.from(scores), scores.length)];
  }

  Object.assign(globalThis, { liveEncoder: { readTensors, makeBase, makeAdapter, filesOf, answer } });
})();
