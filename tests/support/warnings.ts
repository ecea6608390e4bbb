/** What fairlead warns of, or says, while something runs in this process. */
import { configureSync, type LogLevel, type LogRecord, resetSync } from "@logtape/logtape";

/** Runs with every warning that fairlead logs, or with all from another level on. */
export async function warned(
  during: (warnings: string[]) => Promise<void>,
  lowestLevel: LogLevel = "warning",
): Promise<void> {
  const warnings: string[] = [];
  const keep = (record: LogRecord) => {
    warnings.push(record.message.map(String).join(""));
  };
  configureSync({
    reset: true,
    sinks: { keep },
    loggers: [
      { category: "fairlead", sinks: ["keep"], lowestLevel },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: "fatal" },
    ],
  });
  try {
    await during(warnings);
  } finally {
    resetSync();
  }
}
