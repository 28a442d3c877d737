// What a result says at a trade-off, in numbers and in words.
(() => {
  "use strict";
  const MARKS = [
    "M0-4a4 4 0 1 0 0 8a4 4 0 1 0 0-8z",
    "M-3.6-3.6h7.2v7.2h-7.2z",
    "M0-4.4L4.4 3.8H-4.4z",
    "M0-4.8L4.8 0L0 4.8L-4.8 0z",
    "M0 4.4L4.4-3.8H-4.4z",
    "M-1.6-4.6h3.2v3h3v3.2h-3v3h-3.2v-3h-3v-3.2h3z",
    "M-4.4-2.4L-2.4-4.4L0-2L2.4-4.4L4.4-2.4L2 0L4.4 2.4L2.4 4.4L0 2L-2.4 4.4L-4.4 2.4L-2 0z",
    "M0-4.6L4.5-1.3L2.8 4H-2.8L-4.5-1.3z",
  ];

  // A look for each method, as the drawings of the report have it.
  const looksOf = (result) => {
    const names = [...new Set(result.methods.map((method) => method.name))];
    return new Map(names.map((name, i) => [name, {
      variable: `--m${i % MARKS.length}`,
      path: MARKS[(i + Math.floor(i / MARKS.length)) % MARKS.length],
    }]));
  };

  const number = (value) => {
    if (!Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    if (size >= 1e7 || (size > 0 && size < 1e-3)) return value.toExponential(2);
    const digits = size < 10 ? 3 : size < 1000 ? 1 : 0;
    return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  };
  const interval = (mean) => `${number(mean.value)} [${number(mean.low)}, ${number(mean.high)}]`;
  const percent = (weight) => `${Math.round(1000 * weight) / 10}\u00a0%`;

  // Weights that say nothing are left out where there are many.
  const inWords = (names, tradeoff) => {
    const said = names.map((name, i) => [name, tradeoff[i]]).filter(([, w]) => names.length < 3 || w > 0);
    return said.map(([name, weight]) => `${name} ${percent(weight)}`).join(", ");
  };

  const distance = (one, other) => one.reduce((sum, w, i) => sum + (w - other[i]) ** 2, 0);
  const isSame = (one, other) => distance(one, other) < 1e-8;

  const even = (n) => Array.from({ length: n }, () => 1 / n);
  const corner = (n, i) => Array.from({ length: n }, (_, k) => Number(k === i));

  // Four decimals, and a sum of 1: what the address bar holds is what is asked for. The largest
  // takes what rounding leaves, or the largest but `kept`.
  const rounded = (tradeoff, kept = -1) => {
    const weights = tradeoff.map((w) => Math.round(1e4 * Math.max(0, w)) / 1e4);
    if (weights.length === 1) return [1];
    const largest = weights.reduce((best, w, i) => (i !== kept && (best < 0 || w > weights[best]) ? i : best), -1);
    const rest = weights.reduce((sum, w, i) => (i === largest ? sum : sum + w), 0);
    weights[largest] = Math.round(1e4 * (1 - rest)) / 1e4;
    return weights;
  };

  // One weight is set, the others keep their shares of the rest.
  const withWeight = (tradeoff, i, weight) => {
    const wanted = Math.min(1, Math.max(0, weight));
    const rest = tradeoff.reduce((sum, w, k) => (k === i ? sum : sum + w), 0);
    return rounded(tradeoff.map((w, k) => {
      if (k === i) return wanted;
      return (1 - wanted) * (rest > 1e-9 ? w / rest : 1 / (tradeoff.length - 1));
    }), i);
  };

  const methodOf = (result, name) => result.methods.find((method) => method.name === name);

  // Measured points of two objectives by their first weight, one for each.
  const path = (method) => {
    const sorted = [...method.points].sort((a, b) => a.tradeoff[0] - b.tradeoff[0]);
    return sorted.filter((p, i) => i === 0 || p.tradeoff[0] - sorted[i - 1].tradeoff[0] > 1e-9);
  };

  const blend = (a, b, share) => ({
    value: a.value + share * (b.value - a.value),
    low: a.low + share * (b.low - a.low),
    high: a.high + share * (b.high - a.high),
  });

  // Where a trade-off lies on what was measured: at a point, between two, or nearest to one, which
  // is all there is between points where a method answers with nothing else (`isStepped`).
  const place = (result, name, tradeoff, isStepped = false) => {
    const points = methodOf(result, name)?.points ?? [];
    if (!points.length) return { kind: "none", means: null, point: null };
    const near = points.reduce((best, p) =>
      (distance(p.tradeoff, tradeoff) < distance(best.tradeoff, tradeoff) ? p : best));
    if (isSame(near.tradeoff, tradeoff)) return { kind: "exact", means: near.means, point: near };
    if (result.objectives.length === 2 && !isStepped) {
      const known = path({ points });
      const after = known.findIndex((p) => p.tradeoff[0] > tradeoff[0]);
      if (after > 0) {
        const [a, b] = [known[after - 1], known[after]];
        const share = (tradeoff[0] - a.tradeoff[0]) / (b.tradeoff[0] - a.tradeoff[0]);
        return { kind: "between", means: a.means.map((m, i) => blend(m, b.means[i], share)), point: near };
      }
    }
    return { kind: isStepped ? "instead" : "nearest", means: near.means, point: near };
  };

  const placeInWords = (result, found) => {
    if (found.kind === "none") return "no measured point";
    if (found.kind === "between") return "between two measured points, interpolated";
    const where = { exact: "a measured point", nearest: "nearest measured point: ", instead: "answered by the nearest point: " };
    const said = where[found.kind] + (found.kind === "exact" ? "" : inWords(result.objectives, found.point.tradeoff));
    return found.point.dominated ? `${said}, beaten by another of this method` : said;
  };

  // Lowest and highest of what is drawn of one objective, with some air.
  const reach = (result, objective, methods, isWhole = true) => {
    const seen = methods.flatMap((m) => m.points.flatMap((p) => [p.means[objective].low, p.means[objective].high]));
    const reference = result.reference?.points[0];
    if (reference) seen.push(reference.means[objective].value);
    if (result.known && isWhole) {
      seen.push(result.low[objective], ...result.known.hull.map((row) => row[objective]));
      if (result.objectives.length === 2) seen.push(...result.known.replies.map((row) => row[objective]));
    }
    if (!seen.length) seen.push(result.low[objective], result.high[objective]);
    let [low, high] = [Infinity, -Infinity];
    for (const value of seen) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    if (!(high > low)) [low, high] = [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
    const air = 0.05 * (high - low);
    return [low - air, high + air];
  };

  // Round numbers between two ends, at most so many.
  const ticks = (low, high, most) => {
    const raw = (high - low) / Math.max(1, most);
    const size = 10 ** Math.floor(Math.log10(raw));
    const step = size * [1, 2, 5, 10].find((n) => n * size >= raw * (1 - 1e-9));
    const found = [];
    for (let k = Math.ceil(low / step); k * step <= high + 1e-9 * step; k += 1) found.push(k * step);
    const largest = Math.max(Math.abs(low), Math.abs(high));
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const write = (value) => {
      if (largest >= 1e6 || digits > 5) return value === 0 ? "0" : value.toExponential(1);
      return (value + 0).toFixed(digits).replace(/^-(0(\.0*)?)$/, "$1").replace("-", "−");
    };
    return found.map((value) => ({ value, text: write(value) }));
  };

  Object.assign(globalThis.paretoFront, {
    MARKS, looksOf, number, interval, percent, inWords, isSame, even, corner, rounded, withWeight,
    methodOf, path, place, placeInWords, reach, ticks,
  });
})();
