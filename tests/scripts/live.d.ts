// The types of the page on which readers try the adapters: what it hands to its scripts, and these to each other.

interface LiveTensor { shape: number[]; data: Float32Array | Int8Array }
type LiveTensors = Record<string, LiveTensor>;
interface LiveShape {
  n_layers: number; n_heads: number; width: number; eps: number; pool: "relu" | "tanh"; words_per_file: number;
}
interface LiveLayer { out: number; inn: number; weight: Float32Array; bias: Float32Array | null }
interface LiveBeside {
  a: LiveLayer | null; b: LiveLayer | null; scaleIn: Float32Array | null; scaleOut: Float32Array | null;
}
interface LiveDials { scale: number; rank: number }
interface LiveBase {
  shape: LiveShape; layers: Record<string, LiveLayer>; vectors: Record<string, Float32Array>; positions: Float32Array;
  words: Map<number, LiveTensors>;
}
interface LiveAdapter {
  beside: Record<string, LiveBeside>; deltas: Record<string, Float32Array>; rank: number; pool: LiveLayer;
  classifier: LiveLayer;
}
interface LiveTokens {
  tokens: string[]; clean: boolean; chinese: boolean; strip: boolean; lower: boolean; unknown: number; prefix: string;
  most_chars: number; special: Record<string, number>; first: number; last: number; most_tokens: number | null;
}
interface LiveSetting { file: string; rank: number | null; title: string; link: string | null }
interface LiveChoice { id: string; name: string; color: string; settings: Record<string, LiveSetting> }
interface LiveData {
  shape: LiveShape; max_words: number; labels: string[]; adapters: LiveChoice[];
  files: Record<string, { bytes: number; parts: string[] }>; sentences: [string, number, string][];
  words: Record<string, string>;
}

declare var liveTokenizer: {
  firstWords(text: string, most: number): string;
  wordsWithGaps(text: string): [string, string][];
  joined(words: [string, string][]): string;
  makeTokenizer(settings: LiveTokens): (text: string) => number[];
};
declare var liveEncoder: {
  readTensors(bytes: Uint8Array): LiveTensors;
  makeBase(shape: LiveShape, tensors: LiveTensors): LiveBase;
  makeAdapter(tensors: LiveTensors): LiveAdapter;
  filesOf(base: LiveBase, tokens: number[]): number[];
  answer(base: LiveBase, adapter: LiveAdapter, tokens: number[], dials: LiveDials): Generator<undefined, number[], undefined>;
};
declare var liveFile: (name: string, part: number, text: string) => void;
