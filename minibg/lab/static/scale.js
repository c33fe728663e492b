// The axis of time: the position of a time between 0 and 1, and the times that are written below it.
// Pure functions; all contenders of a run share one scale.

const APART = 64;

/** Each millisecond has the same width. */
export function byTime(end) {
  return {
    at: (t) => Math.min(Math.max(t, 0) / end, 1),
    ticks(width) {
      const least = (end * APART) / Math.max(width, 1);
      const power = 10 ** Math.floor(Math.log10(least));
      const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= least);
      const count = Math.floor(end / step) + 1;
      return Array.from({ length: count }, (_, index) => Number((index * step).toPrecision(6)));
    },
  };
}

/** Each event is as far from the next as any other, so that even those close in time can be told apart. */
export function byEvents(times, end) {
  const known = [...new Set([0, ...times.map((t) => Math.max(t, 0)), end])].sort((a, b) => a - b);
  const last = known.length - 1;
  return {
    at(t) {
      const after = known.findIndex((one) => one >= t);
      if (after < 0) return 1;
      if (after === 0) return 0;
      const [from, to] = [known[after - 1], known[after]];
      return (after - 1 + (t - from) / (to - from)) / last;
    },
    ticks(width) {
      const step = Math.max(1, Math.ceil((last * APART) / Math.max(width, 1)));
      return known.filter((_, index) => index % step === 0).map((t) => Number(t.toPrecision(3)));
    },
  };
}
