/** Counting timers: one that is left behind is a leak. */

/** Timers that were set since the count began and have neither fired nor been cleared. */
export interface TimerCount extends Disposable {
  readonly pending: number;
}

/** Counts timers of this process from now on, until disposed of. */
export function countTimers(): TimerCount {
  const original = { setTimeout, setInterval, clearTimeout, clearInterval };
  const pending = new Set<unknown>();
  const set = ((callback: () => void, delay?: number, ...rest: []) => {
    const timer = original.setTimeout(
      () => {
        pending.delete(timer);
        callback();
      },
      delay,
      ...rest,
    );
    pending.add(timer);
    return timer;
  }) as unknown as typeof setTimeout;
  const repeat = ((callback: () => void, delay?: number, ...rest: []) => {
    const timer = original.setInterval(callback, delay, ...rest);
    pending.add(timer);
    return timer;
  }) as unknown as typeof setInterval;
  const clear = (timer: Parameters<typeof clearTimeout>[0]) => {
    pending.delete(timer);
    original.clearTimeout(timer);
  };
  Object.assign(globalThis, {
    setTimeout: set,
    setInterval: repeat,
    clearTimeout: clear,
    clearInterval: clear,
  });
  return {
    get pending() {
      return pending.size;
    },
    [Symbol.dispose]: () => void Object.assign(globalThis, original),
  };
}
