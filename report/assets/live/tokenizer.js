// Cut a text to its first words as training does, and into the tokens of a WordPiece model, as Python's tokenizers does.
// It touches no page: tests run it on every sentence of the data set and compare.
(() => {
  "use strict";

  // As str.split() of Python: no byte order mark, but the separators of files, groups, records and units.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: Python splits there, too.
  const BLANKS = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;
  const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Bopomofo}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;
  const WORDS = /[\p{Script=Katakana}ー]+|(?:[\p{Script=Han}\p{Script=Hiragana}\p{Script=Bopomofo}]|[\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}])\p{M}*|[\p{L}\p{N}\p{M}_'’.]+?(?=[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Bopomofo}]|[^\p{L}\p{N}\p{M}_'’.]|$)|[\s\S]/gu;
  const ALNUM = /[\p{L}\p{N}]/u;

  /** The words of a text without blanks, each with the punctuation that follows it. @param {string} piece */
  function wordsOf(piece) {
    if (!UNSPACED.test(piece)) return [piece];
    /** @type {string[]} */
    const words = [];
    for (const [segment] of piece.matchAll(WORDS)) {
      const last = words.length - 1;
      if (last >= 0 && (!ALNUM.test(words[last]) || !ALNUM.test(segment))) words[last] += segment;
      else words.push(segment);
    }
    return words;
  }

  /** The words of a text, each with what follows it: a blank, or nothing. @param {string} text @returns {[string, string][]} */
  function wordsWithGaps(text) {
    return text.split(BLANKS).filter(Boolean).flatMap((piece) => {
      const words = wordsOf(piece);
      return words.map((word, i) => /** @type {[string, string]} */ ([word, i === words.length - 1 ? " " : ""]));
    });
  }

  /** The first words of a text, joined by single blanks. @param {string} text @param {number} most */
  function firstWords(text, most) {
    return joined(wordsWithGaps(text).slice(0, most));
  }

  /** @param {[string, string][]} words */
  const joined = (words) => words.flat().join("").replace(/ $/, "");

  const CONTROL = /[\p{Cc}\p{Cf}\p{Co}\ufffd]/u;
  const WHITE = /[\t-\r\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;
  const PUNCTUATION = /[!-/:-@[-`{-~\p{P}]/u;
  const HAN = [[0x4e00, 0x9fff], [0x3400, 0x4dbf], [0x20000, 0x2a6df], [0x2a700, 0x2b73f], [0x2b740, 0x2b81f], [0x2b920, 0x2ceaf], [0xf900, 0xfaff], [0x2f800, 0x2fa1f]]; // prettier-ignore

  /** @param {string} char */
  const isHan = (char) => {
    const code = /** @type {number} */ (char.codePointAt(0));
    return HAN.some(([from, to]) => code >= from && code <= to);
  };

  /** The words of a text, each sign of punctuation one of them. @param {string} text @param {LiveTokens} settings */
  function normalisedWords(text, settings) {
    let clean = "";
    for (const char of text) {
      if (settings.clean && char !== "\t" && char !== "\n" && char !== "\r" && CONTROL.test(char)) continue;
      if (settings.clean && WHITE.test(char)) clean += " ";
      else clean += settings.chinese && isHan(char) ? ` ${char} ` : char;
    }
    if (settings.strip) clean = clean.normalize("NFD").replace(/\p{Mn}/gu, "");
    // Letter by letter: as a whole, JavaScript would write a sigma at a word's end in another way.
    if (settings.lower) clean = Array.from(clean, (char) => char.toLowerCase()).join("");
    /** @type {string[]} */
    const words = [];
    let open = false;
    for (const char of clean) {
      if (WHITE.test(char)) open = false;
      else if (PUNCTUATION.test(char)) {
        words.push(char);
        open = false;
      } else if (open) words[words.length - 1] += char;
      else {
        words.push(char);
        open = true;
      }
    }
    return words;
  }

  /** Return a function from a text to its tokens' numbers. @param {LiveTokens} settings */
  function makeTokenizer(settings) {
    const numbers = new Map(settings.tokens.map((token, number) => [token, number]));
    const special = Object.keys(settings.special);
    const escaped = special.map((token) => token.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
    const named = special.length ? new RegExp(`(${escaped.join("|")})`) : null;

    /** @param {string} word */
    function pieces(word) {
      const chars = Array.from(word);
      if (chars.length > settings.most_chars) return [settings.unknown];
      const found = [];
      for (let from = 0; from < chars.length; ) {
        let to = chars.length;
        /** @type {number | undefined} */
        let number;
        for (; to > from; to -= 1) {
          number = numbers.get((from ? settings.prefix : "") + chars.slice(from, to).join(""));
          if (number !== undefined) break;
        }
        if (number === undefined) return [settings.unknown];
        found.push(number);
        from = to;
      }
      return found;
    }

    return (/** @type {string} */ text) => {
      const parts = named ? text.split(named) : [text];
      const inner = parts.flatMap((part) =>
        part in settings.special ? [settings.special[part]] : normalisedWords(part, settings).flatMap(pieces),
      );
      const room = settings.most_tokens === null ? inner.length : settings.most_tokens - 2;
      return [settings.first, ...inner.slice(0, room), settings.last];
    };
  }

  Object.assign(globalThis, { liveTokenizer: { firstWords, wordsWithGaps, joined, makeTokenizer } });
})();
