// Numbers that are the same in every browser: the language leaves Math.exp, Math.log and Math.random to each browser, so
// these are computed from sums, products and quotients alone, which are not.
(() => {
  "use strict";
  const LN2_HIGH = 0.6931471803691238; // ln 2 in two parts: the first has zeros at its end, so a product of it is exact
  const LN2_LOW = 1.9082149292705877e-10;
  const POWERS = new Float64Array(2200); // of two, from -1100
  POWERS[1100] = 1;
  for (let i = 1101; i < 2124; i += 1) POWERS[i] = POWERS[i - 1] * 2;
  for (let i = 1099; i >= 0; i -= 1) POWERS[i] = POWERS[i + 1] / 2;

  /** @param {number} x */
  function exp(x) {
    if (x < -745) return 0;
    if (x > 709) return Infinity;
    const k = Math.round(x / Math.LN2);
    const rest = x - k * LN2_HIGH - k * LN2_LOW;
    let sum = 1;
    for (let i = 14; i > 0; i -= 1) sum = 1 + (sum * rest) / i; // Taylor's series; |rest| is at most 0.35
    return sum * POWERS[1100 + k];
  }

  /** @param {number} x above zero */
  function ln(x) {
    let k = 0;
    let mantissa = x;
    for (; mantissa > Math.SQRT2; mantissa /= 2) k += 1;
    for (; mantissa < Math.SQRT1_2; mantissa *= 2) k -= 1;
    const f = (mantissa - 1) / (mantissa + 1);
    let sum = 0;
    for (let i = 23; i > 0; i -= 2) sum = sum * f * f + 1 / i;
    return k * LN2_HIGH + (2 * f * sum + k * LN2_LOW);
  }

  /** @param {number} x */
  function tanh(x) {
    if (Math.abs(x) < 1e-5) return x;
    const e = exp(-2 * Math.abs(x));
    return ((1 - e) / (1 + e)) * (x < 0 ? -1 : 1);
  }

  // The share of a normal distribution below x: Hart's sum, by West 2005, "Better approximations to cumulative normal
  // functions"; right to fourteen places.
  /** @param {number} x */
  function normalShare(x) {
    const z = Math.abs(x);
    if (z > 37) return x > 0 ? 1 : 0;
    const e = exp((-z * z) / 2);
    let tail;
    if (z < 7.07106781186547) {
      let top = 0.0352624965998911;
      for (const c of [0.700383064443688, 6.37396220353165, 33.912866078383, 112.079291497871, 221.213596169931, 220.206867912376]) top = top * z + c;
      let under = 0.0883883476483184;
      for (const c of [1.75566716318264, 16.064177579207, 86.7807322029461, 296.564248779674, 637.333633378831, 793.826512519948, 440.413735824752]) under = under * z + c;
      tail = (e * top) / under;
    } else {
      let fraction = z + 0.65;
      for (const c of [4, 3, 2, 1]) fraction = z + c / fraction;
      tail = e / fraction / 2.506628274631;
    }
    return x > 0 ? 1 - tail : tail;
  }

  /**
   * Return random numbers from 0 to 1: Doty-Humphrey's sfc32, in whole numbers. Each stream of a seed is another sequence.
   * @param {number} seed
   * @param {number} stream
   */
  function random(seed, stream) {
    let [a, b, c, count] = [seed | 0, stream | 0, 0x9e3779b9 | 0, 1];
    const next = () => {
      const sum = (a + b + count) | 0;
      count = (count + 1) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = (((c << 21) | (c >>> 11)) + sum) | 0;
      return (sum >>> 0) / 4294967296;
    };
    for (let i = 0; i < 20; i += 1) next();
    return next;
  }

  /**
   * Fill an array with numbers of mean 0 whose distribution is almost the normal one: sums of twelve numbers from 0 to 1.
   * @param {Float32Array} array
   * @param {number} deviation
   * @param {() => number} draw
   */
  function fillNormal(array, deviation, draw) {
    for (let i = 0; i < array.length; i += 1) {
      let sum = -6;
      for (let j = 0; j < 12; j += 1) sum += draw();
      array[i] = sum * deviation;
    }
    return array;
  }

  /**
   * @param {number} n
   * @param {() => number} draw
   */
  function shuffled(n, draw) {
    const order = Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i -= 1) {
      const j = Math.floor(draw() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }

  /**
   * Read numbers of sixteen bits, written in base 64.
   * @param {string} text
   */
  function readHalves(text) {
    const bytes = atob(text);
    const numbers = new Float32Array(bytes.length / 2);
    for (let i = 0; i < numbers.length; i += 1) {
      const bits = bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8);
      const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
      const size = exponent ? (1024 + fraction) * POWERS[1100 + exponent - 25] : fraction * POWERS[1100 - 24];
      numbers[i] = bits & 0x8000 ? -size : size;
    }
    return numbers;
  }

  globalThis.labNumbers = { exp, ln, tanh, normalShare, random, fillNormal, shuffled, readHalves };
})();
